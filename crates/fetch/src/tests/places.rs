//! Where it is fetched from: mirrors, proxies, servers with and without TLS.

use std::collections::BTreeSet;

use super::Bench;
use super::server::{Reply, Server};
use crate::fetch;
use crate::proxy::Proxies;

#[test]
fn mirrors_are_asked_first_and_need_not_have_it() {
    let bench = Bench::new();
    let (good, bad) = (
        bench.serve(|_, _| None),
        Server::start(|_, _| Reply::new(404, "")),
    );
    let own = bench.serve(|_, _| None);
    let mut request = bench.request(&own);
    let mirror = |server: &Server| {
        format!("{}/team={}/copy", own.authority(), server.authority())
            .parse()
            .unwrap()
    };
    request.mirrors = vec![mirror(&bad), mirror(&good)];
    fetch(&request, &bench.network, &bench.notes).unwrap();
    assert!(
        own.seen().is_empty()
            && bad
                .seen()
                .iter()
                .all(|seen| seen.target.starts_with("/v2/copy/app/"))
    );
    assert!(bench.notes("OtherPlace") > 0);
    // When nobody has it, the own registry has the last word.
    let bench = Bench::new();
    request.cache = bench.path("cache");
    request.mirrors = vec![mirror(&bad)];
    fetch(&request, &bench.network, &bench.notes).unwrap();
    assert!(!own.seen().is_empty());
    // One that is broken is left alone from then on.
    let bench = Bench::new();
    let broken = Server::start(|_, _| Reply::new(500, ""));
    request.cache = bench.path("cache");
    request.mirrors = vec![mirror(&broken)];
    fetch(&request, &bench.network, &bench.notes).unwrap();
    assert_eq!(broken.asked("/v2/copy").len(), 3);
}

#[test]
fn this_computer_is_asked_whether_it_has_tls() {
    let bench = Bench::new();
    let server = bench.serve(|_, _| None);
    assert!(bench.network.plain_http.is_empty());
    fetch(&bench.request(&server), &bench.network, &bench.notes).unwrap();
}

#[test]
fn a_proxy_is_gone_through() {
    let mut bench = Bench::new();
    let proxy = bench.serve(|_, _| None);
    bench.network.proxies = Proxies {
        http: Some(format!("http://user:hunter2@{}", proxy.authority())),
        ..Proxies::default()
    };
    bench.network.plain_http = BTreeSet::from(["registry.invalid:5000".to_owned()]);
    let mut request = bench.request(&proxy);
    request.reference = "registry.invalid:5000/team/app".parse().unwrap();
    fetch(&request, &bench.network, &bench.notes).unwrap();
    let tunnels = proxy.asked("registry.invalid:5000");
    assert!(
        tunnels
            .iter()
            .any(|seen| seen.method == "CONNECT" && seen.header("proxy-authorization").is_some())
    );

    // One that refuses is told of, without its password.
    let mut bench = Bench::new();
    bench.network.plain_http = BTreeSet::from(["registry.invalid:5000".to_owned()]);
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.network.proxies.http = Some(format!("http://user:hunter2@{gone}"));
    request.cache = bench.path("cache");
    let error = fetch(&request, &bench.network, &bench.notes).unwrap_err();
    super::told(&error);
}
