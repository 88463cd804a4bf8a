//! On whose behalf the tool runs: root, an ordinary user, and one who pretends to be root.

use std::path::Path;
use std::sync::LazyLock;

use e2e::privilege;
use e2e::process::Command;

/// A numeric ID that no user of the machine has.
pub const NUMBER: u32 = 54_321;

/// Leaves nothing but the user ID behind. The limit of user namespaces is 0 in a namespace that is made just for this
/// limit, so that nothing in it can make one.
const WITHOUT_NAMESPACES: &[&str] = &[
    "unshare",
    "--user",
    "--map-current-user",
    "--keep-caps",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && \
     exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs \"$@\"",
    "sh",
];

/// Whoever runs the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Tester,
    /// An ordinary user whom nobody knows, without capabilities, groups and user namespaces; without root, the user
    /// who runs the tests, likewise restricted.
    Ordinary,
    /// That user under fakeroot (in the first user namespace: in another one, chown(2) to a number that it doesn't have
    /// is an error that fakeroot passes on).
    Fakeroot,
    /// That user under pseudo.
    Pseudo,
}

impl Who {
    /// Who may write a root filesystem directory here.
    pub fn writer() -> Self {
        if privilege::is_root() {
            Self::Tester
        } else {
            Self::Fakeroot
        }
    }

    /// The words before a command line that let it run so. `folder` is where pseudo may keep its database.
    pub fn words(self, folder: &Path) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let before: &[&str] = match self {
            Self::Tester => &[],
            Self::Ordinary => ordinary(),
            Self::Fakeroot | Self::Pseudo => without_capabilities(),
        };
        words.extend(before.iter().map(|word| (*word).to_owned()));
        match self {
            Self::Tester | Self::Ordinary => {}
            Self::Fakeroot => words.push("fakeroot".into()),
            // Debian's pseudo keeps its database where these say.
            Self::Pseudo => words.extend([
                "env".into(),
                "PSEUDO_PREFIX=/usr".into(),
                format!("PSEUDO_LOCALSTATEDIR={}", folder.join("tmp").display()),
                "pseudo".into(),
                "-t".into(),
                "1".into(),
            ]),
        }
        words
    }
}

/// Becomes the ordinary user.
fn become_ordinary() -> &'static [&'static str] {
    if privilege::is_root() {
        &["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    } else {
        &[]
    }
}

/// Becomes the ordinary user and gives up what a program that is started could gain.
fn without_capabilities() -> &'static [&'static str] {
    if privilege::is_root() {
        &[
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        ]
    } else {
        &["setpriv", "--no-new-privs"]
    }
}

/// Becomes the ordinary user and gives up everything else.
fn ordinary() -> &'static [&'static str] {
    static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let without = [become_ordinary(), WITHOUT_NAMESPACES].concat();
        match Command::new(without[0]).args(&without[1..]).arg("true").output() {
            Ok(_) => without,
            // Where ordinary users cannot make user namespaces there is none to be taken away.
            Err(_) => without_capabilities().to_vec(),
        }
    });
    &WORDS
}
