//! README.md and the pages of the guide: the blocks in them. The command line's own tests read them by this, too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A fenced block of a page.
pub struct Block {
    /// Page and line, for messages.
    pub place: String,
    /// The words after the fence.
    pub info: Vec<String>,
    /// What stands in it.
    pub text: String,
}

/// README.md and the guide.
///
/// # Errors
/// The checkout is not complete.
pub fn pages(checkout: &Path) -> Result<Vec<PathBuf>> {
    let guide = checkout.join("docs/guide");
    let mut pages = vec![checkout.join("README.md")];
    for entry in fs::read_dir(&guide).with_context(|| format!("listing {}", guide.display()))? {
        pages.push(entry.context("listing the guide")?.path());
    }
    pages.sort();
    ensure!(pages.len() > 6, "pages are missing: {pages:?}");
    Ok(pages)
}

/// The blocks of a page, in order.
///
/// # Errors
/// It cannot be read, or a block has no end.
pub fn blocks(page: &Path) -> Result<Vec<Block>> {
    let text = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let name = page.file_name().unwrap_or_default().to_string_lossy();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                blocks.push(Block {
                    place: format!("{name}, line {}", number + 1),
                    info: info.split_whitespace().map(str::to_owned).collect(),
                    text: String::new(),
                });
            }
            None if open => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None => {}
        }
    }
    ensure!(!open, "{name}: a block has no end");
    Ok(blocks)
}
