//! README.md and the guide: their commands that need a machine, run as they stand there.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use e2e::guide::{self, Block};
use e2e::layout::{Compression, Layout};
use e2e::person::{self, Person};
use e2e::{cache, guest};
use vcontainer_guest::{Arch, Engine};

use crate::user::holds;

/// Pages with such commands, and what is printed on the way. The one about guest files is a test of its own, which
/// compares what it makes.
pub const PAGES: [(&str, &[&str]); 3] = [
    ("README.md", &["\naarch64\n"]),
    ("docs/guide/stores.md", &[]),
    (
        "docs/guide/vdkr.md",
        &[
            "\naarch64\n",
            "Saved to myapp.tar (",
            "Loaded image: myapp:latest\n",
            "\nhello\nhello\n",
            "Architecture: aarch64\n",
            "Stays up: until it is stopped\naarch64\n",
            "State cleaned.",
        ],
    ),
];

/// One page is one session of somebody who has the image `my-container-oci`, and the same in `deploy`.
pub fn a_page(name: &str, printed: &[&str]) -> Result<()> {
    let person = guest::newcomer()?;
    let image = guest::image(Arch::Aarch64)?;
    for path in ["work/my-container-oci", "work/deploy/myapp-latest-oci"] {
        let mut layout = Layout::create(person.path(path))?;
        let descriptor = layout.add(&image, Compression::Gzip)?;
        layout.name(&descriptor, Some("latest"))?;
    }
    person::give_all(&person.path("work"))?;
    let blocks = machine_blocks(name)?;
    if !blocks
        .iter()
        .any(|block| block.text.contains("vcontainer guest build"))
    {
        has_guest_files(&person)?;
    }
    let mut said = String::new();
    for Block { place, text, .. } in blocks {
        let output = person.command("sh").args(["-euc", &text]).output();
        said.push_str(&output.with_context(|| place)?);
    }
    let mut rest = said.as_str();
    for part in printed {
        holds(rest, &[part])?;
        rest = &rest[rest.find(part).unwrap_or_default()..];
    }
    person
        .command("vdkr")
        .args(["-a", "aarch64", "vmemres", "stop"])
        .output()?;
    person.alone()
}

/// Every page with commands that need a machine is known here.
pub fn no_page_is_forgotten() -> Result<()> {
    let checkout = cache::checkout();
    let mut found = Vec::new();
    for page in guide::pages(checkout)? {
        let name = page.strip_prefix(checkout)?.to_string_lossy().into_owned();
        if !machine_blocks(&name)?.is_empty() {
            found.push(name);
        }
    }
    let mut known: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
    known.push("docs/guide/guest-files.md");
    known.sort_unstable();
    assert_eq!(found, known);
    Ok(())
}

fn machine_blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = guide::blocks(&cache::checkout().join(page))?;
    blocks.retain(|block| block.info == ["sh", "machine"]);
    Ok(blocks)
}

/// Guest files of Docker for aarch64, where `vcontainer guest build` would put them.
fn has_guest_files(person: &Person) -> Result<()> {
    let shared = guest::guest_files(Engine::Docker, Arch::Aarch64)?;
    let place = person.path("home/.local/share/vcontainer");
    fs::create_dir_all(&place)?;
    symlink(shared, place.join("vdkr"))?;
    Ok(())
}
