//! A sink that writes into a root filesystem directory, all at once.
//!
//! Everything is made in a private staging directory and put in place by renames at commit. A journal in the root says
//! what is to be done; a run that finds one ends the commit that it belongs to. So a crash at any moment leaves, for
//! each thing, the old state or the new one.

mod atomic;
mod carry;
mod commit;
mod journal;
mod object;
mod plan;
mod staging;
mod tree;

use std::fs::File;
use std::io::BufRead;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use vcontainer_image::{Meta, TreePath};

use self::plan::{Kind, Plan};
use self::tree::DirectoryTree;
use super::{Sink, SinkError, TreeWriter, Written};
use crate::rootfs::Rootfs;

/// How a [`DirectorySink`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryOptions {
    /// Wait at commit until everything is on stable storage, so that not even a power cut leaves a half-written state.
    /// A killed process never does.
    pub sync: bool,
}

/// What opening a sink found of an earlier bundle into the same root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the usual case.
    Nothing,
    /// It was interrupted before it changed anything; its staging was removed.
    Discarded,
    /// It was interrupted while it put things in place, which has now been completed.
    Completed,
}

/// Writes into a root filesystem directory, as root or under fakeroot or pseudo.
///
/// An existing directory keeps its metadata, its modification time too. The root filesystem is locked against other
/// bundles (flock(2) on its directory) as long as the sink lives.
pub struct DirectorySink {
    rootfs: Rootfs,
    options: DirectoryOptions,
    recovery: Recovery,
    plan: Mutex<Plan>,
    /// Holds the lock.
    _lock: File,
}

impl std::fmt::Debug for DirectorySink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectorySink")
            .field("rootfs", &self.rootfs)
            .finish_non_exhaustive()
    }
}

impl DirectorySink {
    /// Locks `rootfs` against other bundles, mends what an interrupted one left, and prepares to write.
    ///
    /// # Errors
    /// Another bundle is at work there, the root filesystem cannot be written, an interrupted commit cannot be ended.
    pub fn open(rootfs: &Rootfs, options: DirectoryOptions) -> Result<Self, SinkError> {
        let lock = lock(rootfs)?;
        let recovery = commit::recover(rootfs)?;
        let plan = Mutex::new(Plan::new(rootfs)?);
        Ok(Self {
            rootfs: rootfs.clone(),
            options,
            recovery,
            plan,
            _lock: lock,
        })
    }

    /// Whether a root filesystem is half written: a bundle was interrupted while it committed, and no
    /// [`DirectorySink::open`] has completed it yet. For those who only read it.
    ///
    /// # Errors
    /// The root filesystem cannot be read.
    pub fn was_interrupted(rootfs: &Rootfs) -> Result<bool, SinkError> {
        commit::is_pending(rootfs)
    }

    /// What had to be mended.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// A thread that panicked while it held the plan has not changed it halfway: every change is one insertion.
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_finished(&self, target: &TreePath, written: Written) {
        self.plan().tree_finished(target, written);
    }

    fn leaf(
        &self,
        path: &TreePath,
        bytes: u64,
        create: impl FnOnce(&object::Spot<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        // Written outside the lock: another thread may be busy with another subtree.
        let place = self.plan().place(path, Kind::Leaf)?;
        create(&place.spot(path))?;
        self.plan()
            .record(path, Kind::Leaf, &place, Written { entries: 1, bytes });
        Ok(())
    }
}

fn lock(rootfs: &Rootfs) -> Result<File, SinkError> {
    let cannot = |source| SinkError::Target {
        what: format!("cannot lock the root filesystem {}", rootfs.path().display()),
        source: Some(source),
    };
    let root = File::open(rootfs.path()).map_err(cannot)?;
    match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(root),
        Err(Errno::WOULDBLOCK) => Err(SinkError::Target {
            what: format!(
                "another vcontainer bundle is at work in {}; wait until it has ended, or use another root filesystem",
                rootfs.path().display()
            ),
            source: None,
        }),
        Err(error) => Err(cannot(error.into())),
    }
}

impl Sink for DirectorySink {
    fn parallelism(&self) -> usize {
        usize::MAX
    }

    fn tree(&self, root: &TreePath, meta: &Meta) -> Result<Box<dyn TreeWriter + '_>, SinkError> {
        let mut plan = self.plan();
        let place = plan.place(root, Kind::Tree)?;
        let directory = object::create_directory(&place.spot(root), meta)?;
        plan.tree_opened(root, &place);
        Ok(Box::new(DirectoryTree::new(
            self,
            root.clone(),
            directory,
            place.host_path(),
            meta,
        )))
    }

    fn directory(&self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        self.plan().directory(path, meta)
    }

    fn file(&self, path: &TreePath, meta: &Meta, mut content: &[u8]) -> Result<(), SinkError> {
        let size = content.len() as u64;
        self.leaf(path, size, |spot| {
            object::create_file(spot, meta, size, &mut content)
        })
    }

    fn file_first(&self, path: &TreePath, meta: &Meta, content: &[u8]) -> Result<(), SinkError> {
        self.file(path, meta, content)?;
        self.plan().bring_forward(path);
        Ok(())
    }

    fn stream(
        &self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.leaf(path, size, |spot| object::create_file(spot, meta, size, content))
    }

    fn symlink(&self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.leaf(path, 0, |spot| object::create_symlink(spot, meta, target))
    }

    fn atomic_directory(&self, path: &TreePath) -> Result<(), SinkError> {
        self.plan().atomic_directory(path)
    }

    fn commit(self: Box<Self>) -> Result<Written, SinkError> {
        let mut plan = self.plan();
        let (journal, written) = plan.journal()?;
        if self.options.sync {
            plan.sync()?;
        }
        point();
        commit::write_journal(&self.rootfs, &journal, self.options.sync)?;
        // From here on the journal decides what becomes of the staging.
        plan.keep();
        match commit::follow(&self.rootfs, &journal) {
            Ok(()) => {
                if self.options.sync {
                    commit::sync(&self.rootfs)?;
                }
                Ok(written)
            }
            Err((0, error)) => {
                // Nothing has changed: back to the old state.
                commit::withdraw_journal(&self.rootfs)?;
                plan.take_back();
                plan.discard()?;
                Err(error)
            }
            Err((_, error)) => Err(SinkError::Target {
                what: format!(
                    "the new content of {} could not all be put in place: {error}. Remove the cause and run any bundle \
                     into it, which will first complete this one",
                    self.rootfs.path().display()
                ),
                source: None,
            }),
        }
    }
}

impl Drop for DirectorySink {
    fn drop(&mut self) {
        // Best effort: what cannot be removed now is removed by the next run.
        let _ = self.plan().discard();
    }
}

/// A place where the tests let the process die, as kill -9 would.
fn point() {
    #[cfg(test)]
    tests::point();
}

#[cfg(test)]
mod tests;
