//! What goes on while an image is fetched.

use std::time::Duration;

use vcontainer_image::{Digest, Platform};

use crate::fault::Fault;

/// Something that has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is known which image it is.
    Chosen {
        /// What it is for.
        platform: &'a Platform,
        /// Its manifest.
        manifest: Digest,
        /// Of how many blobs it is made.
        blobs: usize,
        /// Their size, in bytes.
        bytes: u64,
        /// How much of that is in the cache, in bytes.
        cached: u64,
    },
    /// Another process fetches the same blob.
    Waiting(Digest),
    /// A blob goes on where an earlier run was cut.
    Resumed {
        /// The blob.
        digest: Digest,
        /// How much is there, in bytes.
        from: u64,
    },
    /// So many bytes of blobs have come.
    Received(u64),
    /// So many bytes were of no use.
    Discarded(u64),
    /// A blob is in the cache, whole.
    Done {
        /// The blob.
        digest: Digest,
        /// Its size, in bytes.
        size: u64,
    },
    /// It failed, and is tried again.
    Again {
        /// What was asked for.
        what: &'a str,
        /// Why it failed.
        fault: &'a Fault,
        /// After this long.
        wait: Duration,
    },
    /// A mirror has it not, and the next place is asked.
    OtherPlace {
        /// What was asked for.
        what: &'a str,
        /// Where it failed.
        place: &'a str,
        /// Why it failed.
        fault: &'a Fault,
    },
    /// The cache had something else under the name of a blob; it has been removed.
    Damaged {
        /// What it should have been.
        what: &'a str,
        /// The name.
        digest: Digest,
    },
    /// Everything is in the cache; the layout is written now.
    Writing,
}

/// Who is told what goes on, from several threads.
pub trait Observer: Sync {
    /// Something has happened.
    fn event(&self, event: Event<'_>);

    /// Whether the work is to be given up.
    fn interrupted(&self) -> bool;
}
