//! Into a tar stream, read back by the programs that such streams are for.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vcontainer_store::{Rootfs, Sink, SinkError, TarCompression, TarSink};

use crate::odd_tree::{EXPECTED, Without, expected, list, meta, path, write};
use crate::{assert_same, checked, has, is_root, skip};

/// The tree as a tar file in `dir`.
fn write_tar(dir: &Path, compression: TarCompression, without: Without) -> PathBuf {
    let file = dir.join("store.tar");
    let sink = TarSink::create(&file, compression).unwrap();
    write(&sink, without).unwrap();
    Box::new(sink).commit().unwrap();
    file
}

#[test]
fn gnu_tar_reads_the_stream() {
    if !is_root() {
        return skip("gnu_tar_reads_the_stream", "needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write_tar(dir.path(), TarCompression::None, Without::default());
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let options = [
        "--numeric-owner",
        "--delay-directory-restore",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
    ];
    let output = checked(
        Command::new("tar")
            .args(options)
            .arg(&file)
            .arg("-C")
            .arg(&root)
            .env("LC_ALL", "C"),
    );
    // What it says of times before 1970, and of long names that are not ASCII.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.lines()
            .all(|line| line.contains("implausibly old time stamp") || line.contains("'hdrcharset'")),
        "{said}"
    );
    assert_same(&list(&root.join("var/lib/store")), EXPECTED);
    assert_eq!(
        fs::metadata(root.join("var/lib")).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    fs::set_permissions(
        root.join("var/lib/store/diff/closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
}

#[test]
fn directories_of_the_target_get_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("target/var/lib")).unwrap();
    let file = dir.path().join("over.tar");
    let target = Rootfs::open(&dir.path().join("target")).unwrap();
    let sink = TarSink::create(&file, TarCompression::None).unwrap().over(target);
    sink.directory(&path(b"var/lib/store"), &meta(0o700, 0, 0))
        .unwrap();
    sink.file(&path(b"var/lib/store/file"), &meta(0o600, 0, 0), b"x")
        .unwrap();
    Box::new(sink).commit().unwrap();
    let listed = checked(Command::new("tar").arg("-tf").arg(&file));
    assert_eq!(
        String::from_utf8_lossy(&listed.stdout),
        "./var/lib/store/\n./var/lib/store/file\n"
    );
}

#[test]
fn bsdtar_reads_the_stream() {
    if !is_root() || !has("bsdtar") {
        return skip("bsdtar_reads_the_stream", "needs root and bsdtar");
    }
    let dir = tempfile::tempdir().unwrap();
    // libarchive reads -1.5 as -1 + 0.5.
    let without = Without {
        negative_times: true,
        ..Without::default()
    };
    let file = write_tar(dir.path(), TarCompression::None, without);
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    checked(
        Command::new("bsdtar")
            .args(["--numeric-owner", "--xattrs", "-xpf"])
            .arg(&file)
            .arg("-C")
            .arg(&root),
    );
    assert_same(&list(&root.join("var/lib/store")), &expected(without));
}

/// squashfs has 32-bit times from 1970 on, in whole seconds. Of a directory that comes twice, mksquashfs takes the
/// first entry and tar2sqfs none at all.
#[test]
fn squashfs_tools_read_the_stream() {
    let without = Without {
        negative_times: true,
        second_thoughts: true,
    };
    if !is_root() || !has("mksquashfs") || !has("tar2sqfs") {
        return skip(
            "squashfs_tools_read_the_stream",
            "needs root, squashfs-tools and squashfs-tools-ng",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write_tar(dir.path(), TarCompression::None, without);
    for maker in ["mksquashfs", "tar2sqfs"] {
        let image = dir.path().join(maker);
        let mut command = Command::new(maker);
        match maker {
            "mksquashfs" => command.args(["-", image.to_str().unwrap(), "-tar", "-quiet", "-no-progress"]),
            _ => command.args(["--quiet", image.to_str().unwrap()]),
        };
        checked(command.stdin(fs::File::open(&file).unwrap()));
        let root = dir.path().join(format!("{maker}.root"));
        checked(
            Command::new("unsquashfs")
                .args(["-quiet", "-no-progress", "-d"])
                .arg(&root)
                .arg(&image),
        );
        let got = list(&root.join("var/lib/store")).replace(".123456789", ".0");
        assert_same(&got, &expected(without).replace(".123456789", ".0"));
    }
}

#[test]
fn the_stream_is_the_same_every_time_and_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let once = fs::read(write_tar(dir.path(), TarCompression::None, Without::default())).unwrap();
    let again = fs::read(write_tar(dir.path(), TarCompression::None, Without::default())).unwrap();
    assert!(once == again);
    // Some jobs of zstd's.
    let noise: Vec<u8> = (0..4_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .collect();
    let compressed = |threads, chunk| {
        let mut out = Vec::new();
        let sink = TarSink::new(&mut out, TarCompression::Zstd { level: 3, threads }).unwrap();
        write(&sink, Without::default()).unwrap();
        let mut content = std::io::BufReader::with_capacity(chunk, &noise[..]);
        sink.stream(
            &path(b"noise"),
            &meta(0o644, 0, 0),
            noise.len() as u64,
            &mut content,
        )
        .unwrap();
        Box::new(sink).commit().unwrap();
        out
    };
    let one = compressed(1, 8192);
    assert!(one == compressed(3, 100_000) && one == compressed(0, 4096));
    let plain = zstd::decode_all(&one[..]).unwrap();
    assert!(plain.starts_with(&once[..once.len() - 1024]));
}

/// Takes `left` bytes, then nobody reads any more.
struct Pipe {
    left: usize,
}

impl std::io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_a_clear_error() {
    for compression in [
        TarCompression::None,
        TarCompression::Zstd { level: 1, threads: 1 },
    ] {
        let sink = TarSink::new(Pipe { left: 0 }, compression).unwrap();
        let written = write(&sink, Without::default());
        let error = written
            .and_then(|()| Box::new(sink).commit().map(|_| ()))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "cannot write the tar stream: the program that read it has ended"
        );
    }
}

#[test]
fn a_tar_file_appears_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.tar");
    fs::write(&file, "old").unwrap();
    let sink = TarSink::create(&file, TarCompression::None).unwrap();
    write(&sink, Without::default()).unwrap();
    drop(sink);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    // Nor when content was short, after which nothing more is written.
    let sink = TarSink::create(&file, TarCompression::None).unwrap();
    let short = sink
        .stream(&path(b"f"), &meta(0o644, 0, 0), 5, &mut Cursor::new(b"abc"))
        .unwrap_err();
    assert!(matches!(short, SinkError::Content { .. }));
    assert!(sink.file(&path(b"g"), &meta(0o644, 0, 0), b"").is_err());
    assert!(Box::new(sink).commit().is_err());
    assert_eq!(fs::read(&file).unwrap(), b"old");
    let link = dir.path().join("link.tar");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let sink = TarSink::create(&link, TarCompression::None).unwrap();
    Box::new(sink).commit().unwrap();
    assert_eq!(fs::read(&file).unwrap(), [0; 1024]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "only the file and the link"
    );
    assert!(TarSink::create(dir.path(), TarCompression::None).is_err());
}

#[test]
fn a_stream_refuses_what_it_cannot_take_back() {
    let sink = TarSink::new(std::io::sink(), TarCompression::None).unwrap();
    let m = meta(0o755, 0, 0);
    sink.file(&path(b"f"), &m, b"").unwrap();
    let said = |result: Result<(), SinkError>| result.unwrap_err().to_string();
    assert!(said(sink.file(&path(b"f"), &m, b"")).contains("written already"));
    assert!(said(sink.file(&path(b"f/g"), &m, b"")).contains("`/f` is a file"));
    assert!(said(sink.file(&path(b"d/g"), &m, b"")).contains("has not been made"));
    sink.tree(&path(b"t"), &m).unwrap().finish().unwrap();
    assert!(said(sink.file(&path(b"t/g"), &m, b"")).contains("belongs to the subtree"));
    let tree = sink.tree(&path(b"u"), &m).unwrap();
    drop(tree);
    assert!(
        Box::new(sink)
            .commit()
            .unwrap_err()
            .to_string()
            .contains("not finished")
    );
}
