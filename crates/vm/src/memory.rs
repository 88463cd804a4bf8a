//! The file that holds a guest's memory, and copies of large sparse files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::error::{During, Error};

/// Makes a memory file of `size` bytes, all of them zero. With `reserve` they are there on the disk: a guest that
/// writes to a hole of a full disk would kill QEMU.
pub(crate) fn create(path: &Path, size: u64, reserve: bool) -> Result<(), Error> {
    let file = new_file(path).on("making the machine's memory file", path)?;
    file.set_len(size).on("sizing the machine's memory file", path)?;
    if reserve {
        keep_room(&file, size, path)
    } else {
        Ok(())
    }
}

/// Reserves room for all of a memory file. Without success it takes none: the disk is somebody else's too.
fn keep_room(file: &File, size: u64, path: &Path) -> Result<(), Error> {
    let filled = fill(file, size).inspect_err(|_| drop(std::fs::remove_file(path)));
    let doing = format!(
        "reserving {} MiB for the machine's memory (see --memory) in",
        size >> 20
    );
    filled.on(&doing, path)
}

/// Gives each hole of the file room on the disk.
fn fill(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        // A file system that can't reserve: sparse then.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}

/// Copies a file, and its holes as holes; instantly where the file system can share the blocks.
pub(crate) fn copy(from: &Path, to: &Path, reserve: bool) -> Result<(), Error> {
    let doing = || format!("copying {} to {}", from.display(), to.display());
    let source = File::open(from).during(doing)?;
    let target = new_file(to).during(doing)?;
    let copy = || {
        let size = source.metadata().during(doing)?.len();
        let shared = ioctl_ficlone(&target, &source).is_ok();
        if !shared {
            target.set_len(size).during(doing)?;
        }
        if reserve {
            keep_room(&target, size, to)?;
        }
        match shared {
            true => Ok(()),
            false => copy_data(&source, &target, size).during(doing),
        }
    };
    copy().inspect_err(|_| drop(std::fs::remove_file(to)))
}

fn copy_data(source: &File, target: &File, size: u64) -> io::Result<()> {
    for_each_extent(source, size, |start, end| {
        let (mut from, mut to) = (start, start);
        while from < end {
            let length = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // Not between these two file systems.
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    return copy_bytes(source, target, from, end);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

/// The same, by reading and writing.
fn copy_bytes(source: &File, target: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..length).unwrap_or_default();
        source.read_exact_at(piece, at)?;
        target.write_all_at(piece, at)?;
        at += length as u64;
    }
    Ok(())
}

/// Gives blocks of zeros in the file back to the disk, so that copies are small.
pub(crate) fn dig_holes(path: &Path) -> Result<(), Error> {
    const BLOCK: usize = 1 << 16;
    let dig = || -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        let zeros = vec![0; BLOCK];
        let mut buffer = vec![0; BLOCK];
        for_each_extent(&file, size, |mut start, end| {
            while start < end {
                let length = usize::try_from(end - start).unwrap_or(BLOCK).min(BLOCK);
                let block = buffer.get_mut(..length).unwrap_or_default();
                file.read_exact_at(block, start)?;
                if zeros.get(..length) == Some(&*block) {
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    match fallocate(&file, flags, start, length as u64) {
                        // A file system without holes.
                        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                        result => result?,
                    }
                }
                start += length as u64;
            }
            Ok(())
        })
    };
    dig().on("making holes in", path)
}

/// Calls `body` with begin and end of each part of the file that is no hole.
fn for_each_extent(
    file: &File,
    size: u64,
    mut body: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < size {
        let start = match seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        offset = seek(file, SeekFrom::Hole(start))?;
        body(start, offset)?;
    }
    Ok(())
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Memory that programs can still have on this host, in MiB; `None` where the kernel doesn't tell.
pub(crate) fn available() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        create(&one, 64 << 20, false).unwrap();
        let file = OpenOptions::new().write(true).open(&one).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", (32 << 20) + 5).unwrap();
        copy(&one, &two, false).unwrap();
        assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
        assert!(two.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert!(copy(&one, &two, false).is_err(), "never over another file");
    }

    #[test]
    fn bytes_are_copied_where_the_kernel_cannot() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        std::fs::write(&one, &content).unwrap();
        create(&two, content.len() as u64, false).unwrap();
        let target = OpenOptions::new().write(true).open(&two).unwrap();
        copy_bytes(&File::open(&one).unwrap(), &target, 5, content.len() as u64).unwrap();
        let copied = std::fs::read(&two).unwrap();
        assert!(copied[..5] == [0; 5] && copied[5..] == content[5..]);
    }

    #[test]
    fn memory_that_finds_no_room_takes_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        // No file system has so much.
        let error = create(&path, 1 << 60, true).unwrap_err().chain();
        assert!(error.contains("--memory") || error.contains("sizing"), "{error}");
        assert!(!path.exists() || error.contains("sizing"), "{error}");
    }

    #[test]
    fn zeros_become_holes_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        create(&path, 4 << 20, true).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"x", (1 << 20) - 1).unwrap();
        let before = std::fs::read(&path).unwrap();
        dig_holes(&path).unwrap();
        assert!(before == std::fs::read(&path).unwrap());
        assert!(path.metadata().unwrap().blocks() * 512 <= 128 << 10);
    }

    #[test]
    fn reserved_memory_has_its_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        create(&path, 8 << 20, true).unwrap();
        assert!(path.metadata().unwrap().blocks() * 512 >= 8 << 20);
    }

    #[test]
    fn what_the_kernel_tells_of_memory() {
        assert_eq!(
            available_in("MemTotal: 1 kB\nMemAvailable:   23589000 kB\n"),
            Some(23036)
        );
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
    }
}
