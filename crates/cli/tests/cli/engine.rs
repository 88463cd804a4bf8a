//! `vdkr` and `vpdmn` as far as no machine is needed: help, configuration, folders, and input that is wrong before
//! anything is started.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::fixture::{clean, layout};

/// Somebody with an empty home and the tool's names on a path with a space.
struct Home(tempfile::TempDir);

struct Ended {
    code: i32,
    out: String,
    error: String,
}

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("a bin")).unwrap();
        for name in ["vdkr", "vdkr-aarch64", "vdkr-sparc", "vpdmn", "vpdmn-x86_64"] {
            let program = PathBuf::from(env!("CARGO_BIN_EXE_vcontainer"));
            symlink(program, home.path("a bin").join(name)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.run_with(&[], words)
    }

    fn run_with(&self, environment: &[(&str, &str)], words: &[&str]) -> Ended {
        let mut command = Command::new(self.path("a bin").join(words[0]));
        for (name, _) in std::env::vars() {
            if name.starts_with("VDKR_") || name.starts_with("VPDMN_") || name.starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        let output = clean(&mut command)
            .env("HOME", self.path(""))
            .env("VCONTAINER_SHARE", self.path("no share"))
            .envs(environment.iter().copied())
            .args(&words[1..])
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The command fails like this, with one error and nothing left behind.
    #[track_caller]
    fn refused(&self, words: &[&str], says: &[&str]) {
        let ended = self.run(words);
        assert_eq!(ended.code, 1, "{words:?}: {}", ended.error);
        assert_eq!(ended.out, "", "{words:?}");
        assert_eq!(
            ended.error.matches("error: ").count(),
            1,
            "{words:?}: {}",
            ended.error
        );
        for part in says {
            assert!(
                ended.error.contains(part),
                "{words:?} lacks `{part}`:\n{}",
                ended.error
            );
        }
        assert!(!self.path(".vdkr").exists(), "{words:?}");
    }
}

#[test]
fn without_a_command_the_tool_shows_how_it_is_used() {
    let home = Home::new();
    for words in [
        &["vdkr"][..],
        &["vdkr", "--help"],
        &["vdkr", "-h"],
        &["vdkr", "help"],
    ] {
        let ended = home.run(words);
        assert_eq!(ended.code, 0);
        assert!(ended.out.starts_with("vdkr: the real Docker"), "{}", ended.out);
    }
    assert!(
        home.run(&["vpdmn-x86_64"])
            .out
            .starts_with("vpdmn: the real Podman")
    );
    let version = home.run(&["vpdmn", "--version"]);
    assert_eq!(
        version.out,
        format!("vpdmn version {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(
        home.run(&["vdkr", "vimport", "--help"])
            .out
            .starts_with("Usage: vdkr vimport")
    );
}

#[test]
fn words_that_cannot_be_understood_are_refused() {
    let home = Home::new();
    for (words, says) in [
        (&["vdkr", "--frob", "images"][..], &["`--frob`", "--help"][..]),
        (&["vdkr", "--arch", "vax", "images"], &["`vax`", "aarch64"]),
        (
            &["vdkr", "--registry", "x", "images"],
            &["`--registry`", "later version"],
        ),
        (&["vdkr", "vmemres"], &["requires a subcommand"]),
        (&["vdkr", "vimport"], &["needs what to import"]),
        (&["vdkr", "--stateless", "clean"], &["leaves nothing behind"]),
        (&["vdkr", "--stateless", "-I", "x", "images"], &["only one"]),
        (
            &["vdkr", "run", "-v", "/srv:/x", "i"],
            &["`/srv`", "of this computer"],
        ),
        (&["vdkr-sparc", "images"], &["vdkr-sparc", "vdkr-aarch64"]),
    ] {
        home.refused(words, says);
    }
}

#[test]
fn files_are_looked_at_before_a_machine_is_started() {
    let home = Home::new();
    fs::create_dir(home.path("folder")).unwrap();
    fs::write(home.path("text"), "no archive").unwrap();
    layout(&home.path("deploy/app-latest-oci"), "app", "arm64");
    for (words, says) in [
        (
            &["vdkr", "load", "-i", "none.tar"][..],
            &["`none.tar`", "No such file"][..],
        ),
        (
            &["vdkr", "load", "-i", "folder"],
            &["`folder` is a folder", "vimport"],
        ),
        (&["vdkr", "import", "none.tar", "x"], &["`none.tar`"]),
        (
            &["vdkr", "save", "-o", "folder", "x"],
            &["`folder`", "name a file"],
        ),
        (&["vdkr", "save", "-o", "none/x.tar", "x"], &["none/x.tar"]),
        (&["vdkr", "--storage", "none/x.tar", "images"], &["none/x.tar"]),
        (&["vdkr", "--input-storage", "text", "images"], &["text"]),
        (&["vdkr", "vimport", "none"], &["none"]),
        (&["vdkr", "vimport", "text"], &["text", "is not an image"]),
        (&["vdkr", "vimport", "deploy"], &["app-latest-oci"]),
        (
            &["vdkr", "-a", "x86_64", "vimport", "deploy/app-latest-oci"],
            &["linux/arm64", "linux/amd64", "--arch aarch64"],
        ),
        (
            &[
                "vdkr",
                "-a",
                "aarch64",
                "vimport",
                "deploy/app-latest-oci",
                "Not A Name",
            ],
            &["Not A Name"],
        ),
    ] {
        home.refused(words, says);
    }
}

#[test]
fn missing_guest_files_name_the_command_that_makes_them() {
    let home = Home::new();
    for (words, engine) in [
        (&["vdkr", "-a", "aarch64", "images"][..], "docker"),
        (&["vpdmn", "-a", "aarch64", "images"], "podman"),
    ] {
        home.refused(
            words,
            &[&format!(
                "vcontainer guest build --engine {engine} --arch aarch64"
            )],
        );
    }
    home.refused(&["vdkr", "--blob-dir", "some where", "images"], &["some where"]);
}

#[test]
fn the_configuration_is_shown_set_and_forgotten() {
    let home = Home::new();
    let show = |key: &str| home.run(&["vdkr", "vconfig", key]).out;
    assert_eq!(
        home.run(&["vdkr", "vconfig", "arch", "aarch64"]).out,
        "Set arch = aarch64\n"
    );
    assert_eq!(show("arch"), "aarch64\n");
    let config = fs::read_to_string(home.path(".config/vdkr/config")).unwrap();
    assert_eq!(config, "arch=aarch64\n");
    let path = home.run(&["vdkr", "vstorage", "path"]).out;
    assert_eq!(path, format!("{}\n", home.path(".vdkr/aarch64").display()));
    assert!(
        home.run(&["vdkr", "vconfig"]).out.contains("verbose"),
        "all keys are listed"
    );
    assert!(
        home.run(&["vdkr", "vconfig", "arch", "--reset"])
            .out
            .starts_with("Reset arch")
    );
    home.refused(&["vdkr", "vconfig", "arch", "vax"], &["`vax`"]);
    home.refused(&["vdkr", "vconfig", "frob", "1"], &["`frob` is no key"]);
    // What stands there wrongly is told by its line, and can still be mended.
    fs::write(home.path(".config/vdkr/config"), "cpus=none\n").unwrap();
    home.refused(&["vdkr", "images"], &[".config/vdkr/config", "line 1"]);
    assert_eq!(home.run(&["vdkr", "vconfig", "cpus", "2"]).code, 0);
}

#[test]
fn the_architecture_is_chosen_in_the_documented_order() {
    let home = Home::new();
    let state = |environment: &[(&str, &str)], words: &[&str]| {
        let ended = home.run_with(environment, &[words, &["vstorage", "path"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.error);
        ended.out.trim_end().rsplit('/').next().unwrap().to_owned()
    };
    let host = std::env::consts::ARCH;
    assert_eq!(state(&[], &["vdkr"]), host);
    fs::create_dir_all(home.path(".config/vdkr")).unwrap();
    fs::write(home.path(".config/vdkr/arch"), "aarch64\n").unwrap();
    assert_eq!(state(&[], &["vdkr"]), "aarch64");
    assert_eq!(state(&[("VDKR_ARCH", "x86_64")], &["vdkr"]), "x86_64");
    assert_eq!(state(&[("VDKR_ARCH", "x86_64")], &["vdkr-aarch64"]), "aarch64");
    assert_eq!(state(&[], &["vdkr-aarch64", "-a", "x86_64"]), "x86_64");
    assert_eq!(state(&[], &["vpdmn"]), host);
}

#[test]
fn nothing_that_runs_is_a_state_and_no_error() {
    let home = Home::new();
    let status = home.run(&["vdkr", "vmemres", "status"]);
    assert_eq!((status.code, status.out.as_str()), (1, "Daemon not running\n"));
    let stop = home.run(&["vdkr", "vmemres", "stop"]);
    assert_eq!((stop.code, stop.out.as_str()), (0, ""));
    assert!(stop.error.contains("not up"), "{}", stop.error);
    assert!(home.run(&["vdkr", "vmemres", "list"]).out.contains("(none)"));
    let clean = home.run(&["vdkr", "clean"]);
    assert_eq!(clean.code, 0, "{}", clean.error);
    assert!(clean.out.starts_with("No state directory found"), "{}", clean.out);
    assert!(
        home.run(&["vdkr", "vstorage", "clean", "--all"])
            .out
            .starts_with("Not found")
    );
    home.refused(&["vdkr", "vshell"], &["vdkr vmemres start"]);
}

#[test]
fn cleaning_never_leaves_the_tools_own_folders() {
    let home = Home::new();
    fs::create_dir_all(home.path("mine/machine")).unwrap();
    fs::write(home.path("mine/machine/letter"), "dear").unwrap();
    fs::write(home.path("mine/other"), "dear").unwrap();
    let machine = home.path("mine/machine");
    let machine = machine.to_str().unwrap();
    for words in [
        &["vdkr", "--state-dir", machine, "clean"][..],
        &["vdkr", "--state-dir", machine, "vstorage", "clean"],
        &["vdkr", "--state-dir", machine, "vstorage", "clean", "--all"],
    ] {
        home.run(words);
        assert!(home.path("mine/machine/letter").exists(), "{words:?}");
        assert!(home.path("mine/other").exists(), "{words:?}");
    }
    home.refused(
        &["vdkr", "vstorage", "clean", "../mine"],
        &["no name of an instance"],
    );
}
