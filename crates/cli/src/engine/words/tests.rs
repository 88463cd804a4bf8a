use std::os::unix::ffi::OsStringExt as _;

use super::*;

fn list(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn ready(words: &[&str]) -> EngineCommand {
    prepare(list(words)).unwrap()
}

fn error(words: &[&str]) -> String {
    prepare(list(words)).unwrap_err().to_string()
}

#[test]
fn words_pass_unchanged() {
    for words in [
        &["images"][..],
        &["system", "df", "-v"],
        &["pod", "ps"],
        &["run", "--rm", "x", "sh", "-c", "a; b  \"c\"\n", ""],
        &[
            "run", "x", "prog", "--config", "F", "--help", "-it", "-o", "y", "--input", "z",
        ],
        &["frobnicate", "--unknown", "-"],
        &["ps", "--format", "{{.ID}}"],
        &["--log-level", "debug", "images"],
        &["save", "x"],
        &["load", "-q"],
        &[],
    ] {
        assert_eq!(ready(words).words, list(words));
    }
    let raw = vec![OsString::from("tag"), OsString::from_vec(vec![0xff, b' ', 0x80])];
    assert_eq!(prepare(raw.clone()).unwrap().words, raw);
}

#[test]
fn a_terminal_is_for_those_who_ask() {
    use Input::{Empty, Host};
    use Terminal::{Never, OfAll, OfInput};
    for (words, terminal, stdin) in [
        (&["run", "-it", "x"][..], OfInput, Host),
        (&["run", "-ti", "--rm", "x"], OfInput, Host),
        (&["run", "-i", "-t", "x"], OfInput, Host),
        (&["run", "--interactive", "--tty", "x"], OfInput, Host),
        (&["run", "--tty=true", "--interactive=true", "x"], OfInput, Host),
        (&["run", "--tty=false", "-i", "x"], Never, Host),
        (&["run", "-i", "x"], Never, Host),
        (&["run", "x"], Never, Empty),
        (&["run", "-dit", "x"], Never, Host),
        (&["run", "-e", "-it", "x"], Never, Empty),
        (&["run", "-e-it", "x"], Never, Empty),
        (&["run", "--name", "-it", "x"], Never, Empty),
        (&["run", "--name=n", "-it", "x"], OfInput, Host),
        (&["run", "-u", "0", "-itw", "/", "x", "sh"], OfInput, Host),
        (&["run", "x", "-it"], Never, Empty),
        (&["run", "--", "x", "-it"], Never, Empty),
        (&["run", "-a", "stdin", "x"], Never, Host),
        (&["container", "run", "-it", "x"], OfInput, Host),
        (&["create", "-it", "x"], OfInput, Host),
        (&["exec", "-it", "c", "sh"], OfInput, Host),
        (&["exec", "-i", "c", "cat", "-t"], Never, Host),
        (&["exec", "c", "sh", "-it"], Never, Empty),
        (&["exec", "-lit", "sh"], OfInput, Host),
        (&["start", "-ai", "c"], OfInput, Host),
        (&["start", "-a", "c"], Never, Empty),
        (&["start", "c"], Never, Empty),
        (&["attach", "c"], OfInput, Host),
        (&["attach", "--no-stdin", "c"], OfInput, Empty),
        (&["login"], OfInput, Host),
        (&["login", "--password-stdin", "-u", "u", "r"], Never, Host),
        (&["pull", "x"], OfAll, Empty),
        (&["image", "pull", "x"], OfAll, Empty),
        (&["build", "https://x/y.git"], OfAll, Host),
        (&["build", "-"], Never, Host),
        (&["images"], Never, Empty),
        (&["system", "prune"], Never, Host),
        (&["cp", "-", "c:/"], Never, Host),
        (&["rm", "c"], Never, Empty),
        (&["compose", "up"], Never, Host),
        (&["--log-level", "debug", "run", "-it", "x"], OfInput, Host),
        (&["--debug", "run", "-it", "x"], OfInput, Host),
    ] {
        let command = ready(words);
        assert_eq!((command.terminal, command.stdin), (terminal, stdin), "{words:?}");
    }
}

#[test]
fn files_of_load_are_the_hosts() {
    for (words, left, file) in [
        (&["load", "-i", "a b.tar"][..], &["load"][..], "a b.tar"),
        (&["load", "-ia.tar"], &["load"], "a.tar"),
        (&["load", "-i=a.tar"], &["load"], "a.tar"),
        (&["load", "-qi", "a.tar"], &["load", "-q"], "a.tar"),
        (&["load", "-q", "--input", "a.tar"], &["load", "-q"], "a.tar"),
        (
            &["load", "--input=a=b.tar", "--quiet"],
            &["load", "--quiet"],
            "a=b.tar",
        ),
        (
            &["image", "load", "--platform", "x", "-i", "f"],
            &["image", "load", "--platform", "x"],
            "f",
        ),
    ] {
        let command = ready(words);
        assert_eq!(command.words, list(left), "{words:?}");
        assert_eq!(command.stdin, Input::File(file.into()), "{words:?}");
    }
    assert_eq!(ready(&["load"]).stdin, Input::HostArchive);
    assert!(error(&["load", "-i"]).contains("needs a file"));
    assert!(error(&["load", "-i", "a", "--input=b"]).contains("twice"));
}

#[test]
fn files_of_save_are_the_hosts() {
    for (words, left, file) in [
        (&["save", "-o", "f", "x", "y"][..], &["save", "x", "y"][..], "f"),
        (&["save", "x", "--output=f"], &["save", "x"], "f"),
        (
            &["save", "-qm", "--format", "oci-archive", "-of", "x"],
            &["save", "-qm", "--format", "oci-archive", "x"],
            "f",
        ),
        (&["image", "save", "x", "-o", "f"], &["image", "save", "x"], "f"),
        (&["export", "-o", "f", "c"], &["export", "c"], "f"),
        (
            &["container", "export", "c", "--output", "f"],
            &["container", "export", "c"],
            "f",
        ),
    ] {
        let command = ready(words);
        assert_eq!(command.words, list(left), "{words:?}");
        assert_eq!(command.stdout, Output::File(file.into()), "{words:?}");
    }
    assert_eq!(ready(&["save", "x"]).stdout, Output::HostArchive);
    assert!(error(&["save", "--format", "oci-dir", "-o", "d", "x"]).contains("archive"));
}

#[test]
fn files_of_import_are_the_hosts() {
    for (words, left, stdin) in [
        (
            &["import", "f.tar", "n:1"][..],
            &["import", "-", "n:1"][..],
            Input::File("f.tar".into()),
        ),
        (
            &["import", "f.tar"],
            &["import", "-", "imported:latest"],
            Input::File("f.tar".into()),
        ),
        (
            &["import", "-c", "CMD x", "--message", "m", "./-", "n"],
            &["import", "-c", "CMD x", "--message", "m", "-", "n"],
            Input::File("./-".into()),
        ),
        (&["import", "-", "n"], &["import", "-", "n"], Input::HostArchive),
        (
            &["import", "http://h/f.tar", "n"],
            &["import", "http://h/f.tar", "n"],
            Input::Empty,
        ),
        (
            &["image", "import", "f", "n"],
            &["image", "import", "-", "n"],
            Input::File("f".into()),
        ),
        (&["import"], &["import"], Input::Empty),
    ] {
        let command = ready(words);
        assert_eq!(command.words, list(left), "{words:?}");
        assert_eq!(command.stdin, stdin, "{words:?}");
    }
}

#[test]
fn registries_on_the_loopback_are_seen() {
    for (words, ports) in [
        (&["pull", "localhost:5000/x:1"][..], &[5000][..]),
        (&["pull", "-q", "127.0.0.1:5001/a/b@sha256:0"], &[5001]),
        (&["pull", "127.3.2.1:80/x"], &[80]),
        (&["pull", "[::1]:5000/x"], &[5000]),
        (&["pull", "docker://localhost:5000/x"], &[5000]),
        (&["push", "x", "localhost:6000/y"], &[6000]),
        (&["run", "--rm", "localhost:5000/x", "localhost:6000/y"], &[5000]),
        (&["create", "localhost:5000/x"], &[5000]),
        (&["image", "pull", "localhost:5000/x"], &[5000]),
        (&["login", "localhost:5000"], &[5000]),
        (&["pull", "localhost/x"], &[]),
        (&["pull", "x:5000"], &[]),
        (&["pull", "example.com:5000/x"], &[]),
        (&["tag", "x", "localhost:5000/x"], &[]),
        (&["pull", "localhost:0/x"], &[]),
        (&["pull", "localhost:99999/x"], &[]),
    ] {
        let found: Vec<u16> = ready(words).registries.into_iter().collect();
        assert_eq!(found, ports, "{words:?}");
    }
}

#[test]
fn paths_of_this_computer_are_refused_not_misunderstood() {
    for words in [
        &["run", "-v", "/home/me:/x", "i"][..],
        &["run", "-v=./x:/x:ro", "i"],
        &["run", "--volume", "/a b:/x", "i"],
        &["run", "--env-file", "e.env", "i"],
        &["create", "--cidfile=id", "i"],
        &["create", "--mount", "type=bind,source=/srv,target=/x", "i"],
        &["build", "."],
        &["build", "-t", "x", "--no-cache", "-f", "Dockerfile", "/srv/app"],
        &["image", "build", "--tag=x", "app"],
        &["buildx", "build", "--load", "."],
        &["build", "-f", "-", "."],
        &["kube", "play", "pod.yaml"],
        &["play", "kube", "--network", "x", "./pod.yaml"],
        &["kube", "down", "pod.yaml"],
    ] {
        assert!(error(words).contains("of this computer"), "{words:?}");
    }
    for words in [
        &["run", "-v", "named:/x", "i"][..],
        &["run", "-v", "/x", "i"],
        &["run", "-v", "/var/run/docker.sock:/s", "i"],
        &["run", "--mount", "type=tmpfs,target=/x", "i"],
        &["run", "i", "-v", "/home/me:/x"],
        &["build", "-"],
        &["build", "-t", ".", "-"],
        &["build", "https://example.com/x.git"],
        &["build"],
        &["kube", "play", "-"],
        &["kube", "generate", "app"],
        &["run", "build", "."],
    ] {
        ready(words);
    }
}

#[test]
fn published_ports_are_seen() {
    assert!(ready(&["run", "-dp", "80:80", "i"]).publishes);
    assert!(ready(&["run", "-P", "i"]).publishes);
    assert!(!ready(&["run", "i", "-p", "80:80"]).publishes);
}

#[test]
fn vrun_clears_the_entrypoint_for_a_command() {
    for (words, run) in [
        (&["x"][..], &["run", "--rm", "x"][..]),
        (
            &["x", "ls", "-l"],
            &["run", "--rm", "--entrypoint=", "x", "ls", "-l"],
        ),
        (
            &["-it", "x", "sh"],
            &["run", "--rm", "-it", "--entrypoint=", "x", "sh"],
        ),
        (
            &["-e", "A=b c", "x", "sh"],
            &["run", "--rm", "-e", "A=b c", "--entrypoint=", "x", "sh"],
        ),
        (&["--rm", "x"], &["run", "--rm", "x"]),
        (
            &["--entrypoint", "/e", "x", "a"],
            &["run", "--rm", "--entrypoint", "/e", "x", "a"],
        ),
        (
            &["--no-network", "x", "--no-network"],
            &[
                "run",
                "--rm",
                "--network=none",
                "--entrypoint=",
                "x",
                "--no-network",
            ],
        ),
        (
            &["--", "x", "a"],
            &["run", "--rm", "--entrypoint=", "--", "x", "a"],
        ),
    ] {
        assert_eq!(vrun(&list(words)).unwrap(), list(run), "{words:?}");
    }
    assert!(
        vrun(&list(&["-it"]))
            .unwrap_err()
            .to_string()
            .contains("needs an image")
    );
}

#[test]
fn a_terminal_can_be_asked_for_before_the_command() {
    let asked = |words: &[&str]| interactive(list(words));
    assert_eq!(
        asked(&["run", "x", "sh"]).unwrap(),
        list(&["run", "-it", "x", "sh"])
    );
    assert_eq!(
        asked(&["container", "exec", "c"]).unwrap(),
        list(&["container", "exec", "-it", "c"])
    );
    assert!(asked(&["images"]).is_err());
}

#[test]
fn copies_go_through_tar_streams() {
    for words in [
        &["cp", "file", "c:/x"][..],
        &["cp", "-a", "./a:b", "c:/x"],
        &["cp", "c:/x", "."],
        &["container", "cp", "c:/x", "/tmp/y"],
    ] {
        assert!(error(words).contains("tar stream"), "{words:?}");
    }
    assert_eq!(ready(&["cp", "-", "c:/x"]).stdin, Input::Host);
    assert_eq!(ready(&["cp", "c:/x", "-"]).stdin, Input::Empty);
    assert_eq!(ready(&["cp", "c:/x", "d:/x"]).stdin, Input::Empty);
}
