//! Comparisons of speed and memory, with the targets of the project beside them. For people to read: nothing here fails
//! because something is slow.
//!
//! `benches [machine] [images] [speed] [memory] [linearity] [second] [pretended] [--rounds N]`; no word means all of them.

mod contest;
mod debian_image;
mod generated;
mod growth;
mod images;
mod layout;
mod machine;
mod pretended;
mod program;
mod speed;

use anyhow::{Context, Result, bail};
use e2e::machine::scratch_directory;
use e2e::privilege;

use crate::debian_image::DebianImage;
use crate::layout::Compression;

/// Rounds that are counted, unless `--rounds` says otherwise.
const ROUNDS: usize = 5;

const PARTS: &[&str] = &[
    "machine",
    "images",
    "speed",
    "memory",
    "linearity",
    "second",
    "pretended",
];

fn main() -> Result<()> {
    let mut rounds = ROUNDS;
    let mut parts = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => {
                let number = words.next().context("--rounds needs a number")?;
                rounds = number.parse().with_context(|| format!("--rounds {number}"))?;
                anyhow::ensure!(rounds > 0, "--rounds must be at least 1");
            }
            part if PARTS.contains(&part) => parts.push(word),
            other => bail!("{other:?} is none of {} and --rounds", PARTS.join(", ")),
        }
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    if wanted("machine") {
        machine::measure(rounds)?;
    }
    if privilege::can_run_engines().is_err() {
        println!("skipped: other comparisons need root, for the engines and for the owners of files");
        return Ok(());
    }
    if wanted("images") {
        images::measure(&DebianImage::get()?, rounds)?;
    }
    if wanted("speed") {
        let image = DebianImage::get()?;
        let scratch = scratch_directory()?;
        for compression in Compression::ALL {
            speed::compare(&image, compression, rounds, scratch.path())?;
        }
    }
    if wanted("memory") {
        growth::memory()?;
    }
    if wanted("linearity") {
        growth::linearity()?;
    }
    if wanted("second") {
        growth::second_bundle(&DebianImage::get()?, rounds)?;
    }
    if wanted("pretended") {
        pretended::measure(&DebianImage::get()?, rounds)?;
    }
    Ok(())
}
