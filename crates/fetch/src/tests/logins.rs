//! Who may know which secret.

use super::server::{Reply, Seen, Server};
use super::{Bench, told};

/// user:hunter2
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";
const AUTH: &str = "dXNlcjpodW50ZXIy";

fn authorized(seen: &Seen, wanted: &str) -> bool {
    seen.header("authorization") == Some(wanted)
}

fn auths(server: &Server, entry: &str) -> String {
    format!(r#"{{"auths": {{"{}": {entry}}}}}"#, server.authority())
}

#[test]
fn basic_is_answered_once_it_is_asked_for() {
    let mut bench = Bench::new();
    let server = bench.serve(|seen, _| {
        let ask = Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"");
        (!authorized(seen, BASIC)).then_some(ask)
    });
    bench.credentials(&auths(&server, &format!(r#"{{"auth": "{AUTH}"}}"#)));
    bench.fetch(&server).unwrap();
    let seen = server.seen();
    assert!(!authorized(&seen[0], BASIC) && seen[1..].iter().all(|seen| authorized(seen, BASIC)));
    assert_eq!(seen.len(), 6);

    let mut bench = Bench::new();
    bench.credentials(&auths(&server, r#"{"username": "user", "password": "hunter23"}"#));
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("does not accept the credentials from") && error.contains("auth.json"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 8);

    let mut bench = Bench::new();
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("asks for a login") && error.contains("--authfile"),
        "{error}"
    );
    bench.credentials(&auths(&server, r#"{"identitytoken": "hunter2"}"#));
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(error.contains("only an identity token"), "{error}");
    bench.credentials(&format!(
        r#"{{"credHelpers": {{"{}": "gcloud"}}}}"#,
        server.authority()
    ));
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(error.contains("docker-credential-gcloud"), "{error}");
}

/// A registry that wants tokens, and the service that gives them.
fn with_tokens(bench: &Bench) -> (Server, Server) {
    let service = Server::start(|seen, before| match seen.method.as_str() {
        "POST" if seen.body.contains("refresh_token=hunter2") => {
            Reply::new(200, r#"{"access_token":"good0"}"#)
        }
        "GET" if seen.header("authorization").is_none_or(|who| who == BASIC) => {
            Reply::new(200, format!(r#"{{"token":"good{before}","expires_in":60}}"#))
        }
        _ => Reply::new(401, r#"{"details":"who is that?"}"#),
    });
    let realm = format!("http://{}/token", service.authority());
    let registry = bench.serve(move |seen, _| {
        // A token is good for two requests.
        let (old, new) = (authorized(seen, "Bearer good0"), authorized(seen, "Bearer good1"));
        let good = new || (old && !seen.target.contains("/blobs/"));
        let ask = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:team/app:pull\"");
        (!good).then(|| Reply::new(401, "").with("WWW-Authenticate", ask))
    });
    (registry, service)
}

#[test]
fn tokens_are_fetched_used_and_renewed() {
    let mut bench = Bench::new();
    let (registry, service) = with_tokens(&bench);
    bench.fetch(&registry).unwrap();
    let asked = service.seen();
    assert!(
        asked[0]
            .target
            .contains("scope=repository%3Ateam%2Fapp%3Apull&service=s"),
        "{asked:?}"
    );
    assert!(asked.len() >= 2 && asked.iter().all(|seen| seen.header("authorization").is_none()));

    // The password goes to the service and to nobody else.
    let mut bench = Bench::new();
    let (registry, service) = with_tokens(&bench);
    bench.credentials(&auths(&registry, &format!(r#"{{"auth": "{AUTH}"}}"#)));
    bench.fetch(&registry).unwrap();
    assert!(
        service
            .seen()
            .iter()
            .all(|seen| authorized(seen, BASIC) && seen.target.contains("account=user"))
    );
    assert!(registry.seen().iter().all(|seen| !authorized(seen, BASIC)));

    let mut bench = Bench::new();
    let (registry, _service) = with_tokens(&bench);
    bench.credentials(&auths(
        &registry,
        r#"{"username": "other", "password": "hunter2"}"#,
    ));
    let error = told(&bench.fetch(&registry).unwrap_err());
    assert!(
        error.contains("who is that?") && error.contains("auth.json"),
        "{error}"
    );
}

#[test]
fn what_is_public_needs_no_helper() {
    let mut bench = Bench::new();
    let (registry, _service) = with_tokens(&bench);
    bench.credentials(&format!(
        r#"{{"credHelpers": {{"{}": "gcloud"}}}}"#,
        registry.authority()
    ));
    bench.fetch(&registry).unwrap();

    let mut bench = Bench::new();
    let service = Server::start(|_, _| Reply::new(403, ""));
    let ask = format!("Bearer realm=\"http://{}/\"", service.authority());
    let registry = bench.serve(move |_, _| Some(Reply::new(401, "").with("WWW-Authenticate", ask.clone())));
    bench.credentials(&format!(
        r#"{{"credHelpers": {{"{}": "gcloud"}}}}"#,
        registry.authority()
    ));
    let error = told(&bench.fetch(&registry).unwrap_err());
    assert!(error.contains("docker-credential-gcloud"), "{error}");
}

#[test]
fn a_mirror_that_only_a_helper_can_use_is_passed_over() {
    let mut bench = Bench::new();
    let mirror = Server::start(|_, _| Reply::new(401, "").with("WWW-Authenticate", "Basic"));
    let own = bench.serve(|_, _| None);
    bench.credentials(&format!(
        r#"{{"credHelpers": {{"{}": "gcloud"}}}}"#,
        mirror.authority()
    ));
    let mut request = bench.request(&own);
    request.mirrors = vec![
        format!("{}={}", own.authority(), mirror.authority())
            .parse()
            .unwrap(),
    ];
    crate::fetch(&request, &bench.network, &bench.notes).unwrap();
    assert_eq!(mirror.asked("/v2/team").len(), 1);
}

#[test]
fn an_identity_token_is_exchanged() {
    let mut bench = Bench::new();
    let service = Server::start(|seen, _| match seen.body.contains("refresh_token=hunter2") {
        true => Reply::new(200, r#"{"access_token":"good"}"#),
        false => Reply::new(400, ""),
    });
    let realm = format!("http://{}/token", service.authority());
    let registry = bench.serve(move |seen, _| {
        let ask = Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\""));
        (!authorized(seen, "Bearer good")).then_some(ask)
    });
    bench.credentials(&auths(&registry, r#"{"identitytoken": "hunter2"}"#));
    bench.fetch(&registry).unwrap();
    assert_eq!(service.seen()[0].method, "POST");
}

#[test]
fn token_services_that_cannot_be_used_are_told() {
    for (challenge, body, says) in [
        ("Bearer realm=\"REALM\"", "{}", "gives no token"),
        (
            "Bearer realm=\"REALM\"",
            r#"{"token":"a\r\nX: y"}"#,
            "gives no token",
        ),
        ("Bearer realm=\"ftp://x\"", "", "no address with TLS"),
        ("Negotiate", "", "neither Basic nor Bearer"),
        ("", "", "neither Basic nor Bearer"),
    ] {
        let mut bench = Bench::new();
        let service = Server::start(move |_, _| Reply::new(200, body));
        let challenge = challenge.replace("REALM", &format!("http://{}/", service.authority()));
        let server =
            bench.serve(move |_, _| Some(Reply::new(401, "").with("WWW-Authenticate", challenge.clone())));
        let error = told(&bench.fetch(&server).unwrap_err());
        assert!(error.contains(says), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn no_secret_goes_along_to_another_server() {
    let mut bench = Bench::new();
    let image = bench.image.clone();
    // Storage that would take anybody's secret.
    let storage = Server::start(move |seen, _| image.reply(seen));
    let there = storage.authority();
    let server = bench.serve(move |seen, _| {
        if !authorized(seen, BASIC) {
            return Some(Reply::new(401, "").with("WWW-Authenticate", "Basic"));
        }
        let digest = seen.target.split("/blobs/").nth(1)?;
        let location = format!("http://{there}/store/{digest}?signature=hunter2");
        Some(Reply::new(307, "").with("Location", location))
    });
    bench.credentials(&auths(&server, &format!(r#"{{"auth": "{AUTH}"}}"#)));
    bench.fetch(&server).unwrap();
    assert_eq!(storage.seen().len(), 3);
    assert!(
        storage
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );

    // When it fails there, its address is no secret that is told.
    let mut bench = Bench::new();
    let storage = Server::start(|_, _| Reply::new(403, ""));
    let there = storage.authority();
    let server = bench.serve(move |seen, _| {
        let location = format!("http://{there}/?signature=hunter2");
        seen.target
            .contains("/blobs/")
            .then(|| Reply::new(302, "").with("Location", location))
    });
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("403") && error.contains(&storage.authority()),
        "{error}"
    );
}

#[test]
fn redirects_end() {
    for location in ["/v2/again", "", "ftp://x/", "http://user:hunter2@127.0.0.1/"] {
        let mut bench = Bench::new();
        let server = bench.serve(move |_, _| Some(Reply::new(302, "").with("Location", location)));
        let error = told(&bench.fetch(&server).unwrap_err());
        assert!(error.contains("points to another place"), "{error}");
        assert!(server.seen().len() <= 6);
    }
}
