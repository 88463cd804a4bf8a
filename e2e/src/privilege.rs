//! What this process may do.

use std::sync::LazyLock;

use crate::process::Command;

/// Whether this process runs as user 0. Under fakeroot this says yes as well: [`can_run_engines`] is the real test.
pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|uid| uid.trim() == "0")
}

/// Why real engines cannot be run here, or `Ok` if they can. It is tried: namespaces of one's own and a mount in
/// them, which fakeroot and most containers don't allow.
///
/// # Errors
/// The reason, in a few words, for the list of skipped tests.
pub fn can_run_engines() -> Result<(), &'static str> {
    static TRIED: LazyLock<bool> = LazyLock::new(|| {
        Command::new("unshare")
            .args([
                "-m", "-n", "-p", "-i", "-u", "--fork", "mount", "-t", "tmpfs", "none", "/mnt",
            ])
            .output()
            .is_ok()
    });
    if *TRIED { Ok(()) } else { Err("needs root") }
}
