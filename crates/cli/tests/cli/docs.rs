//! The commands of README.md and of the guide, run as they stand there.
//!
//! Every page is one session: its blocks are run in order in one folder, which at the start holds `deploy` (layouts
//! that a build has made) and `rootfs` (a target with Docker and Podman). What a block is, its first line says:
//!
//! - `sh`: commands that must succeed; `sh fails`: the last one must fail with exit status 1;
//! - `sh no-run`: commands that cannot be run here; those that call make must name a target of the Makefile;
//! - `sh machine`: commands that need guest files; e2e runs them;
//! - `text shown`: what the block before it has printed, white space and what `…` stands for left out;
//! - `toml NAME` and `ini NAME`: a file of this name in the folder;
//! - `text` and `json`: to be read only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundle::is_root;
use crate::fixture::{Bench, clean};
use crate::guide::{self, Block};

/// How many blocks of all pages may be left out: the demo, installing, a tool that need not be here.
const MOST_NOT_RUN: usize = 4;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages() -> Vec<PathBuf> {
    guide::pages(&repository()).unwrap()
}

fn blocks(page: &Path) -> Vec<Block> {
    guide::blocks(page).unwrap()
}

/// Runs commands in the folder of a page; gives the exit status and everything that was printed.
fn run(bench: &Bench, commands: &str) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_vcontainer")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    // Who is not root pretends to be; pretending twice is not possible.
    let mut shell = match is_root() || commands.contains("fakeroot") {
        true => Command::new("sh"),
        false => Command::new("fakeroot"),
    };
    if shell.get_program() == "fakeroot" {
        shell.arg("sh");
    }
    let output = clean(&mut shell)
        .args(["-euc", &format!("exec 2>&1\n{commands}")])
        .env("PATH", format!("{}:{path}", program.display()))
        // What a page finds in caches must not depend on who has read it before.
        .env("HOME", bench.path("home"))
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_DATA_HOME")
        .current_dir(bench.path(""))
        .output()
        .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", shell.get_program()));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// Whether `shown`, in which `…` stands for anything, is in `output`; white space does not count.
fn is_shown(shown: &str, output: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let output = squeeze(output);
    let mut rest = output.as_str();
    squeeze(shown).split('…').map(str::trim).all(|part| {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        true
    })
}

fn run_page(page: &Path) {
    let bench = Bench::new(&["myapp-container-latest-oci", "mydb-container-latest-oci"]);
    fs::rename(bench.path("root"), bench.path("rootfs")).unwrap();
    let mut printed = String::new();
    for Block { place, info, text } in blocks(page) {
        let info: Vec<&str> = info.iter().map(String::as_str).collect();
        match info[..] {
            ["sh"] => {
                let (status, output) = run(&bench, &text);
                assert_eq!(status, 0, "{place}:\n{text}\n{output}");
                printed = output;
            }
            ["sh", "fails"] => {
                let (status, output) = run(&bench, &text);
                assert_eq!(status, 1, "{place}:\n{text}\n{output}");
                printed = output;
            }
            ["text", "shown"] => assert!(
                is_shown(&text, &printed),
                "{place}: not what is shown:\n{printed}\ninstead of:\n{text}"
            ),
            ["toml" | "ini", file] => bench.write(file, text.as_bytes()),
            ["sh", "no-run" | "machine"] | ["text" | "json"] => {}
            _ => panic!("{place}: a block of an unknown kind: {info:?}"),
        }
    }
}

#[test]
fn every_command_of_the_readme_and_the_guide_does_what_the_page_says() {
    for page in pages() {
        run_page(&page);
    }
}

#[test]
fn what_is_not_run_is_little_and_names_real_targets_of_make() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let mut left_out = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            if block.info == ["sh", "no-run"] {
                left_out.push(block);
            }
        }
    }
    for line in left_out.iter().flat_map(|block| block.text.lines()) {
        let mut words = line.split_whitespace();
        if words.next() == Some("make") {
            let target = words.next().unwrap();
            let rule = format!("\n{target}: ## ");
            assert!(makefile.contains(&rule), "the Makefile has no target {target}");
        }
    }
    let places: Vec<&str> = left_out.iter().map(|block| block.place.as_str()).collect();
    assert!(places.len() <= MOST_NOT_RUN, "too many: {places:?}");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let formats = fs::read_dir(repository().join("docs/formats")).unwrap();
    let formats = formats.map(|entry| entry.unwrap().path());
    let others = ["ARCHITECTURE.md", "CHANGELOG.md"].map(|name| repository().join(name));
    for page in pages().into_iter().chain(formats).chain(others) {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            let target = page.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}

#[test]
fn the_map_of_the_code_has_every_module() {
    let map = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    for package in [
        "image", "store", "bundle", "build", "fetch", "view", "cli", "wire", "agent", "debian", "guest", "vm",
    ] {
        let start = map.find(&format!("\n### {package}\n")).unwrap() + 1;
        let section = map[start..].split("\n#").next().unwrap();
        for entry in fs::read_dir(repository().join("crates").join(package).join("src")).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let Some(module) = file.strip_suffix(".rs") else {
                continue;
            };
            let is_told = section.contains(&format!("`{module}`"));
            let needs_no_telling = ["lib", "main", "error"].contains(&module) || module.contains("test");
            assert!(
                is_told || needs_no_telling,
                "ARCHITECTURE.md does not say what `{module}` of {package} owns"
            );
        }
    }
}
