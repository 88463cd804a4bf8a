//! Each fault ends in success after another try, or in one clear error.

use std::fs;
use std::time::{Duration, Instant};

use super::server::{Reply, Stop};
use super::{Bench, told};
use crate::{Error, Fault};

fn fault(error: &Error) -> &Fault {
    match error {
        Error::Registry { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cut_connection_goes_on_where_it_was_cut() {
    let mut bench = Bench::new();
    let (layer, large) = (bench.image.layer(), bench.image.large());
    let server = bench.serve(move |seen, before| {
        let cut = before == 0 && seen.target.ends_with(&layer);
        cut.then(|| Reply::new(200, large.clone()).stop(1 << 20, Stop::Cut))
    });
    bench.fetch(&server).unwrap();
    let asked = server.asked(&bench.image.layer());
    assert_eq!(asked.len(), 2);
    let range = asked[1].header("range").unwrap();
    let from: u64 = range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from > 0 && from <= 1 << 20, "{range}");
    assert_eq!(bench.notes("Again"), 1);
}

#[test]
fn progress_is_no_failure_and_none_is_one() {
    let mut bench = Bench::new();
    let (layer, image) = (bench.image.layer(), bench.image.clone());
    // Always a bit more than 1 MiB: more cuts than tries.
    bench.network.retries.tries = 2;
    let server = bench.serve(move |seen, _| {
        let reply = image.reply(seen);
        let step = (1 << 20) + (64 << 10);
        let cut = seen.target.ends_with(&layer) && reply.body.len() > step;
        cut.then(|| reply.stop(step, Stop::Cut))
    });
    bench.fetch(&server).unwrap();
    assert!(server.asked(&bench.image.layer()).len() >= 3);

    let mut bench = Bench::new();
    let layer = bench.image.layer();
    let server = bench.serve(move |seen, _| {
        let cut = seen.target.ends_with(&layer);
        cut.then(|| Reply::new(200, vec![0; super::image::LARGE]).stop(0, Stop::Cut))
    });
    let error = bench.fetch(&server).unwrap_err();
    assert_eq!(server.asked(&bench.image.layer()).len(), 3);
    let text = told(&error);
    assert!(
        text.contains("3 times in a row") && text.contains("layer 2"),
        "{text}"
    );
}

#[test]
fn an_earlier_run_is_gone_on_with() {
    let mut bench = Bench::new();
    let (layer, large) = (bench.image.layer(), bench.image.large());
    let server = bench.serve(|_, _| None);
    let name = format!("cache/blobs/sha256/{}.partial", bench.image.layer.unwrap().hex());
    fs::create_dir_all(bench.path("cache/blobs/sha256")).unwrap();
    fs::write(bench.path(&name), &large[..2_000_000]).unwrap();
    bench.fetch(&server).unwrap();
    assert_eq!(server.asked(&layer)[0].header("range"), Some("bytes=2000000-"));
    assert_eq!(bench.notes("Resumed"), 1);

    // Garbage costs one more try; more than there can be costs nothing.
    for garbage in [
        vec![7; 1_000_000],
        vec![7; super::image::LARGE],
        vec![7; super::image::LARGE + 1],
    ] {
        let mut bench = Bench::new();
        let server = bench.serve(|_, _| None);
        fs::create_dir_all(bench.path("cache/blobs/sha256")).unwrap();
        fs::write(bench.path(&name), garbage).unwrap();
        bench.fetch(&server).unwrap();
    }
}

#[test]
fn a_server_without_ranges_begins_again() {
    let mut bench = Bench::new();
    let (layer, large) = (bench.image.layer(), bench.image.large());
    let server = bench.serve(move |seen, before| {
        let whole = Reply::new(200, large.clone());
        seen.target.ends_with(&layer).then(|| match before {
            0 => whole.stop(1 << 20, Stop::Cut),
            _ => whole,
        })
    });
    bench.fetch(&server).unwrap();
    assert!(server.asked(&bench.image.layer())[1].header("range").is_some());
    assert_eq!(bench.notes("Discarded"), 1);
}

#[test]
fn wrong_ranges_are_not_taken() {
    for reply in [
        Reply::new(416, ""),
        Reply::new(206, vec![0; 100]).with("Content-Range", "bytes 0-99/100"),
        Reply::new(206, vec![0; 100]),
        Reply::new(206, vec![0; 100]).with("Content-Range", "lines 1000000-x"),
    ] {
        let mut bench = Bench::new();
        let (layer, large) = (bench.image.layer(), bench.image.large());
        let server = bench.serve(move |seen, before| match before {
            0 if seen.target.ends_with(&layer) => {
                Some(Reply::new(200, large.clone()).stop(1_000_000, Stop::Cut))
            }
            1 if seen.target.ends_with(&layer) => Some(reply.clone()),
            _ => None,
        });
        bench.fetch(&server).unwrap();
    }
}

#[test]
fn wrong_bytes_are_never_used() {
    let wrong = |of: usize| vec![7; of];
    for always in [false, true] {
        let mut bench = Bench::new();
        let layer = bench.image.layer();
        let server = bench.serve(move |seen, before| {
            let is_wrong = (always || before == 0) && seen.target.ends_with(&layer);
            is_wrong.then(|| Reply::new(200, wrong(super::image::LARGE)))
        });
        match bench.fetch(&server) {
            Ok(_) => assert!(!always),
            Err(error) => {
                assert!(
                    always && matches!(fault(&error), Fault::WrongBytes { .. }),
                    "{error:?}"
                );
                assert!(told(&error).contains("other bytes"));
            }
        }
    }
    // The same of a document.
    let mut bench = Bench::new();
    let server = bench.serve(|seen, _| seen.target.contains("/manifests/").then(|| Reply::new(200, "{}")));
    let error = bench.fetch(&server).unwrap_err();
    assert!(matches!(fault(&error), Fault::WrongBytes { .. }), "{error:?}");
}

#[test]
fn more_than_announced_is_an_error() {
    let mut bench = Bench::new();
    let layer = bench.image.layer();
    let server = bench.serve(move |seen, _| {
        let longer = seen.target.ends_with(&layer);
        longer.then(|| Reply::new(200, vec![7; super::image::LARGE + 1]))
    });
    let error = bench.fetch(&server).unwrap_err();
    assert!(matches!(fault(&error), Fault::TooLarge { .. }), "{error:?}");
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| Some(Reply::new(200, vec![b' '; (4 << 20) + 1])));
    let error = bench.fetch(&server).unwrap_err();
    assert!(
        matches!(fault(&error), Fault::TooLarge { limit, .. } if *limit == 4 << 20),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn servers_in_trouble_are_asked_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let mut bench = Bench::new();
        let server = bench.serve(move |_, before| (before < 2).then(|| Reply::new(status, "")));
        bench.fetch(&server).unwrap();
        let mut bench = Bench::new();
        let server = bench.serve(move |_, _| Some(Reply::new(status, "")));
        let error = told(&bench.fetch(&server).unwrap_err());
        assert_eq!(server.seen().len(), 3);
        assert!(error.contains(&status.to_string()), "{error}");
    }
}

#[test]
fn what_will_not_pass_is_told_at_once() {
    for (status, advice) in [
        (401, "skopeo login 127.0.0.1:"),
        (403, "must be allowed to pull"),
        (404, "is the name right"),
        (418, "answers 418"),
    ] {
        let mut bench = Bench::new();
        let body = r#"{"errors":[{"code":"X","message":"because"}]}"#;
        let server =
            bench.serve(move |_, _| Some(Reply::new(status, body).with("WWW-Authenticate", "Basic realm=x")));
        let error = told(&bench.fetch(&server).unwrap_err());
        assert_eq!(server.seen().len(), 1);
        assert!(error.contains(advice) && error.contains("because"), "{error}");
    }
}

#[test]
fn a_registry_says_when_to_come_back() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, before| (before == 0).then(|| Reply::new(429, "").with("Retry-After", "1")));
    let start = Instant::now();
    bench.fetch(&server).unwrap();
    // Index, manifest, configuration; both layers at the same time.
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| Some(Reply::new(429, "").with("Retry-After", "3600")));
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("too much was asked") && server.seen().len() == 1,
        "{error}"
    );
}

#[test]
fn silence_is_not_waited_for_without_end() {
    let mut bench = Bench::new();
    let (layer, large) = (bench.image.layer(), bench.image.large());
    let server = bench.serve(
        move |seen, before| match (before, seen.target.ends_with(&layer)) {
            (0, true) => Some(Reply::new(200, large.clone()).stop(1000, Stop::Stall)),
            (0, false) => Some(Reply::new(200, "x").stop(0, Stop::Stall)),
            _ => None,
        },
    );
    bench.fetch(&server).unwrap();
    assert_eq!(bench.notes("TimedOut"), 5, "{:?}", bench.notes.told);
}

#[test]
fn who_gives_up_leaves_nothing_but_the_cache() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.notes.ends_it = true;
    assert!(matches!(bench.fetch(&server), Err(Error::GivenUp)));
    let seen = server.seen().len();
    bench.notes.ends_it = false;
    bench.fetch(&server).unwrap();
    assert_eq!(server.seen().len(), seen);
}

#[test]
fn nobody_there_is_one_error() {
    let bench = Bench::new();
    let server = bench.serve(|_, _| None);
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut request = bench.request(&server);
    request.reference = format!("{gone}/app").parse().unwrap();
    let error = told(&crate::fetch(&request, &bench.network, &bench.notes).unwrap_err());
    assert!(
        error.contains("the connection to 127.0.0.1:") && error.contains("3 times"),
        "{error}"
    );
}
