use std::io::Write;

use super::*;
use crate::settle;
use crate::testing::{Archive, EPOCH, MemoryTree, apply_archive, blob, chain, options, path, reassemble};

/// Applies and settles layers one on another; what each one wrote.
fn stack(layers: &[&Archive]) -> Vec<MemoryTree> {
    let mut trees: Vec<LayerTree> = Vec::new();
    let mut written = Vec::new();
    for layer in layers {
        let mut out = MemoryTree::default();
        let mut applied = apply_archive(&layer.finish(), &mut out, None).unwrap();
        let lower = LowerView::new(trees.iter().rev());
        settle(&mut applied.tree, &lower, &mut out, EPOCH).unwrap();
        trees.push(applied.tree);
        written.push(out);
    }
    written
}

/// The text of the error that a layer gives.
fn refused(layer: &Archive) -> String {
    chain(&apply_archive(&layer.finish(), &mut MemoryTree::default(), None).unwrap_err())
}

fn archive(fill: impl FnOnce(&mut Archive)) -> Archive {
    let mut archive = Archive::default();
    fill(&mut archive);
    archive
}

#[test]
fn a_layer_is_written_and_counted() {
    let layer = archive(|a| {
        a.directory(".", 0o700)
            .directory("etc", 0o750)
            .file("etc/f", b"hello")
            .hardlink("g", "./etc/f");
        a.symlink("l", "etc/f")
            .file("lib/implied", b"")
            .entry("fifo", b'6', 0o600, "", b"");
        a.entry("gone/.wh.x", b'0', 0, "", b"");
    });
    let mut out = MemoryTree::default();
    let mut applied = apply_archive(&layer.finish(), &mut out, None).unwrap();
    assert_eq!(
        out.names(),
        ["etc", "etc/f", "fifo", "g", "gone", "l", "lib", "lib/implied"]
    );
    assert_eq!(out.mode("etc"), 0o750);
    assert_eq!(out.objects[&path("lib")].meta, implied_meta(EPOCH));
    assert_eq!(out.objects[&path("g")].content, b"hello");
    assert_eq!(applied.content_size, 10, "one inode and a symlink");
    assert_eq!(applied.uncompressed_size, layer.finish().len() as u64);
    assert_eq!(
        (applied.uids, applied.gids),
        (BTreeSet::from([1]), BTreeSet::from([2]))
    );
    let rebuilt = reassemble(&mut applied.tar_split, |name| {
        out.objects[&path(name)].content.clone()
    });
    assert_eq!(rebuilt, layer.finish());
}

#[test]
fn every_compression_and_every_end_is_read() {
    // Larger than all pieces together, and then what some tools leave after the end.
    let content: Vec<u8> = (0u32..1_000_000).flat_map(u32::to_le_bytes).collect();
    let mut plain = archive(|a| {
        a.file("big", &content).file("small", b"x");
    })
    .finish();
    plain.extend([0; 100_000]);
    plain.extend(b"garbage");
    let member = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let (first, second) = plain.split_at(1_234_567);
    let gzip = [member(first), member(b""), member(second)].concat();
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let zstd = [frame(first), frame(second)].concat();
    for (compressed, compression) in [
        (&plain, Compression::None),
        (&gzip, Compression::Gzip),
        (&zstd, Compression::Zstd),
    ] {
        let mut out = MemoryTree::default();
        let blob = blob(&plain, compressed, compression);
        let mut applied = apply_blob(blob, &mut out, None, &options(Limits::default())).unwrap();
        assert!(out.objects[&path("big")].content == content, "{compression:?}");
        let rebuilt = reassemble(&mut applied.tar_split, |name| {
            out.objects[&path(name)].content.clone()
        });
        assert!(rebuilt == plain, "{compression:?}");
    }
}

#[test]
fn an_empty_stream_is_an_empty_layer() {
    let applied = apply_archive(b"", &mut MemoryTree::default(), None).unwrap();
    assert!(applied.tree.is_empty());
}

#[test]
fn damaged_blobs_are_told_apart() {
    let plain = archive(|a| {
        a.file("f", &[7; 100_000]).file("g", &[8; 3000]);
    })
    .finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let apply = |change: &dyn Fn(&mut LayerBlob<'_>, &mut Vec<u8>)| {
        let mut bytes = gzip.clone();
        let mut blob = blob(&plain, &gzip, Compression::Gzip);
        change(&mut blob, &mut bytes);
        blob.reader = Box::new(std::io::Cursor::new(bytes));
        let error = apply_blob(
            blob,
            &mut MemoryTree::default(),
            None,
            &options(Limits::default()),
        )
        .unwrap_err();
        assert!(error.to_string().starts_with("cannot unpack layer sha256:"));
        error.problem
    };
    let truncated = apply(&|_, bytes| bytes.truncate(200));
    assert!(
        matches!(truncated, ApplyProblem::Blob(BlobFault::Size { actual: 200, .. })),
        "{truncated}"
    );
    let longer = apply(&|_, bytes| bytes.extend([0; 10]));
    assert!(
        matches!(longer, ApplyProblem::Blob(BlobFault::Size { .. })),
        "{longer}"
    );
    let flipped = apply(&|_, bytes| bytes[60] ^= 4);
    assert!(
        matches!(flipped, ApplyProblem::Blob(BlobFault::Digest { .. })),
        "{flipped}"
    );
    // Right digest of a wrong stream: the image was made so.
    let garbage = apply(&|blob, bytes| {
        bytes.extend(b"garbage");
        (blob.digest, blob.size) = (Digest::of(bytes), bytes.len() as u64);
    });
    assert!(
        matches!(
            garbage,
            ApplyProblem::Blob(BlobFault::Decompress(Compression::Gzip, _))
        ),
        "{garbage}"
    );
    let cut = apply(&|blob, bytes| {
        bytes.truncate(bytes.len() - 20);
        (blob.digest, blob.size) = (Digest::of(bytes), bytes.len() as u64);
    });
    assert!(
        matches!(cut, ApplyProblem::Blob(BlobFault::Decompress(..))),
        "{cut}"
    );
    let other = apply(&|blob, _| blob.diff_id = DiffId(Digest::of(b"")));
    assert!(matches!(other, ApplyProblem::DiffId { .. }), "{other}");
}

#[test]
fn a_failing_source_is_the_error() {
    struct Failing(u8);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 -= 1;
            if self.0 == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            buffer.fill(0);
            Ok(buffer.len())
        }
    }
    let blob = LayerBlob {
        digest: Digest::of(b""),
        size: 1 << 40,
        diff_id: DiffId(Digest::of(b"")),
        compression: Compression::None,
        reader: Box::new(Failing(200)),
    };
    let error = apply_blob(
        blob,
        &mut MemoryTree::default(),
        None,
        &options(Limits::default()),
    )
    .unwrap_err();
    assert!(
        chain(&error).ends_with("cannot read the blob: the disk is gone"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_truncated_archive_with_a_right_digest_is_named_as_such() {
    let whole = archive(|a| {
        a.file("f", &[7; 100_000]);
    })
    .finish();
    let error = apply_archive(&whole[..50_000], &mut MemoryTree::default(), None).unwrap_err();
    assert!(
        matches!(
            error.problem,
            ApplyProblem::Archive(LayerError::Truncated { offset: 50_000 })
        ),
        "{error:?}"
    );
}

#[test]
fn layer_bombs_stop_at_the_limit() {
    let many = archive(|a| {
        for number in 0..100 {
            a.file(&format!("f{number}"), b"x");
        }
    })
    .finish();
    let bomb = |bytes: &[u8], limits: Limits| {
        let blob = blob(bytes, bytes, Compression::None);
        let result = apply_blob(blob, &mut MemoryTree::default(), None, &options(limits));
        result.map(|_| ()).map_err(|error| error.problem)
    };
    let limit = |uncompressed_bytes, entries| Limits {
        uncompressed_bytes,
        entries,
    };
    assert!(bomb(&many, limit(many.len() as u64, 100)).is_ok());
    assert!(matches!(
        bomb(&many, limit(1 << 30, 99)),
        Err(ApplyProblem::TooManyEntries { limit: 99 })
    ));
    assert!(matches!(
        bomb(&many, limit(many.len() as u64 - 1, 100)),
        Err(ApplyProblem::Blob(BlobFault::TooLarge { .. }))
    ));
    let implied = archive(|a| {
        a.file(&("d/".repeat(40) + "f"), b"").file("g", b"");
    })
    .finish();
    assert!(matches!(
        bomb(&implied, limit(1 << 30, 30)),
        Err(ApplyProblem::TooManyEntries { .. })
    ));
}

#[test]
fn an_interrupted_layer_is_read_no_further() {
    let bytes = archive(|a| {
        a.file("f", &vec![b'x'; 4 << 20]);
    })
    .finish();
    let read = std::sync::atomic::AtomicU64::new(0);
    let interrupting = ApplyOptions {
        on_read: &|bytes| {
            read.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            ControlFlow::Break(())
        },
        ..options(Limits::default())
    };
    let blob = blob(&bytes, &bytes, Compression::None);
    let error = apply_blob(blob, &mut MemoryTree::default(), None, &interrupting).unwrap_err();
    assert!(matches!(
        error.problem,
        ApplyProblem::Blob(BlobFault::Interrupted)
    ));
    assert!(read.into_inner() < 1 << 20);
}

#[test]
fn writer_errors_name_the_entry() {
    struct Full;
    impl TreeWriter for Full {
        fn directory(&mut self, _: &TreePath, _: &vcontainer_image::Meta) -> Result<(), SinkError> {
            Ok(())
        }
        fn file(
            &mut self,
            path: &TreePath,
            _: &vcontainer_image::Meta,
            _: u64,
            _: &mut dyn BufRead,
        ) -> Result<(), SinkError> {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            Err(SinkError::Io {
                action: "write",
                path: path.clone(),
                source,
            })
        }
        fn symlink(&mut self, _: &TreePath, _: &vcontainer_image::Meta, _: &[u8]) -> Result<(), SinkError> {
            Ok(())
        }
        fn hardlink(&mut self, _: &TreePath, _: &TreePath) -> Result<(), SinkError> {
            Ok(())
        }
        fn node(&mut self, _: &TreePath, _: &vcontainer_image::Meta, _: &EntryKind) -> Result<(), SinkError> {
            Ok(())
        }
        fn finish(self: Box<Self>) -> Result<(), SinkError> {
            Ok(())
        }
    }
    // Much more follows than the two threads have buffers for: both must end.
    let bytes = archive(|a| {
        a.file("d/first", &[0; 5_000_000])
            .file("d/second", &[0; 5_000_000]);
    })
    .finish();
    let blob = blob(&bytes, &bytes, Compression::None);
    let error = apply_blob(blob, &mut Full, None, &options(Limits::default())).unwrap_err();
    assert!(
        chain(&error).contains("cannot write entry `/d/first`: cannot write `/d/first`: no storage space")
    );
}

#[test]
fn entries_without_a_place_are_refused_by_name() {
    let refused = |fill: &dyn Fn(&mut Archive)| refused(&archive(|a| fill(a)));
    for (fill, text) in [
        (
            (|a: &mut Archive| {
                a.file("f", b"").file("./f", b"");
            }) as fn(&mut Archive),
            "entry `/f` is in the layer twice",
        ),
        (
            |a| {
                a.directory("usr", 0o755)
                    .symlink("l", "usr")
                    .file("usr/f", b"")
                    .file("l/f", b"");
            },
            "entry `/l/f` is in the layer twice",
        ),
        (
            |a| {
                a.directory(".", 0o755).directory(".", 0o755);
            },
            "entry `/` is in the layer twice",
        ),
        (
            |a| {
                a.file(".wh..wh.plnk", b"").file(".wh..wh.plnk", b"");
            },
            "entry `/.wh..wh.plnk` is in the layer twice",
        ),
        (
            |a| {
                a.file("d/.wh..wh..opq", b"").file("d/.wh..wh..opq", b"");
            },
            "entry `/d/.wh..wh..opq` is in the layer twice",
        ),
        (
            |a| {
                a.directory("x", 0o755).file(".wh.x", b"");
            },
            "entry `/.wh.x` is a whiteout for something",
        ),
        (
            |a| {
                a.file("d/.wh.", b"");
            },
            "entry `/d/.wh.` is a whiteout of nothing",
        ),
        (
            |a| {
                a.file(".wh...", b"");
            },
            "entry `/.wh...` is a whiteout of nothing",
        ),
        (
            |a| {
                a.file("d/.wh.x", b"content");
            },
            "entry `/d/.wh.x` is a whiteout or a mark of aufs, but has content",
        ),
        (
            |a| {
                a.file("d/.wh..wh..opq", b"content");
            },
            "entry `/d/.wh..wh..opq` is a whiteout or a mark of aufs, but has content",
        ),
        (
            |a| {
                a.hardlink("h", "nothing");
            },
            "entry `/h` is a hard link to `/nothing`, which the layer has not",
        ),
        (
            |a| {
                a.file(".wh.x", b"").hardlink("h", ".wh.x");
            },
            "entry `/h` is a hard link to `/.wh.x`",
        ),
        (
            |a| {
                a.file("f", b"").file("f/g", b"");
            },
            "entry `/f/g` lies in `/f`, which is no directory",
        ),
        (
            |a| {
                a.file(".wh.d", b"").file("d/f", b"");
            },
            "entry `/d/f` lies in `/d`, which is no directory",
        ),
        (
            |a| {
                a.symlink("l", "../../etc").file("l/f", b"");
            },
            "entry `/l/f` lies behind the symlink `/l`, which leads to nothing in this layer",
        ),
        (
            |a| {
                a.file("../f", b"");
            },
            "entry `../f` cannot be placed: path `../f` leaves the root of the layer",
        ),
    ] {
        let error = refused(&fill);
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let base = archive(|a| {
        a.directory("d", 0o711)
            .file("d/a", b"")
            .file("d/b", b"")
            .directory("d/sub", 0o700);
        a.file("d/sub/x", b"").file("top", b"").file("both", b"");
    });
    let middle = archive(|a| {
        a.file("both", b"new")
            .file("d/.wh.a", b"")
            .file("d/.wh.never", b"")
            .file("new/.wh.x", b"");
    });
    let top = archive(|a| {
        a.file(".wh.both", b"")
            .file("d/.wh.a", b"")
            .file("deep/er/.wh.x", b"");
    });
    let last = archive(|a| {
        a.file(".wh.d", b"").file(".wh.both", b"");
    });
    let written = stack(&[&base, &middle, &top, &last]);
    assert_eq!(written[1].names(), ["both", "d", "!d/a", "new"]);
    assert_eq!(written[1].mode("d"), 0o711, "implied: as it is below");
    let whiteout = &written[1].objects[&path("d/a")].meta;
    assert_eq!(
        whiteout,
        &vcontainer_image::Meta {
            mtime: EPOCH,
            ..Default::default()
        }
    );
    assert_eq!(written[2].names(), ["!both", "d", "deep", "deep/er"]);
    assert_eq!(written[3].names(), ["!d"]);
}

#[test]
fn opaque_directories_become_whiteouts() {
    let base = archive(|a| {
        a.file("d/gone", b"")
            .file("d/kept", b"")
            .file("d/sub/gone", b"")
            .file("d/sub/deep/gone", b"");
        a.file("d/file", b"").file("other", b"");
    });
    let top = archive(|a| {
        a.file("d/kept", b"new")
            .file("d/.wh..wh..opq", b"")
            .directory("d/sub/deep", 0o700);
        a.file("d/.wh.gone", b"").directory("d/file", 0o755);
    });
    let written = stack(&[&base, &top]);
    assert_eq!(
        written[1].names(),
        [
            "d",
            "d/file",
            "!d/gone",
            "d/kept",
            "d/sub",
            "d/sub/deep",
            "!d/sub/deep/gone",
            "!d/sub/gone"
        ]
    );
    // The root can be opaque, too; what a layer in between hid already needs no whiteout.
    let middle = archive(|a| {
        a.file(".wh.d", b"");
    });
    let all = archive(|a| {
        a.file(".wh..wh..opq", b"").file("x", b"");
    });
    let written = stack(&[&base, &middle, &all]);
    assert_eq!(written[2].names(), ["!other", "x"]);
}

#[test]
fn a_file_hides_directories_further_down() {
    let base = archive(|a| {
        a.file("d/old", b"");
    });
    let file = archive(|a| {
        a.file("d", b"");
    });
    let top = archive(|a| {
        a.directory("d", 0o755)
            .file("d/.wh.old", b"")
            .file("d/.wh..wh..opq", b"");
    });
    let written = stack(&[&base, &file, &top]);
    assert_eq!(written[2].names(), ["d"]);
}

#[test]
fn a_symlink_of_a_lower_layer_is_hidden_by_a_real_directory() {
    let base = archive(|a| {
        a.directory("usr/lib", 0o711).symlink("lib", "usr/lib");
    });
    let top = archive(|a| {
        a.file("lib/x", b"");
    });
    let written = stack(&[&base, &top]);
    assert_eq!(written[1].names(), ["lib", "lib/x"]);
    assert_eq!(written[1].objects[&path("lib")].meta, implied_meta(EPOCH));
}

#[test]
fn a_whiteout_may_precede_what_replaces_it() {
    let base = archive(|a| {
        a.file("d/old", b"").file("f", b"").file("g", b"");
    });
    let top = archive(|a| {
        a.file(".wh.d", b"")
            .directory("d", 0o700)
            .file("d/new", b"")
            .file(".wh.f", b"")
            .file("f", b"new");
        a.entry("g", b'3', 0, "", b"").entry("h", b'3', 0, "", b"");
    });
    let written = stack(&[&base, &top]);
    // As in the engines `d` is not opaque: `d/old` shows. The devices 0:0 are whiteouts like others.
    assert_eq!(written[1].names(), ["d", "d/new", "f", "!g"]);
}

#[test]
fn with_the_layers_below_at_hand_implied_directories_are_right_at_once() {
    let mut below = MemoryTree::default();
    let base = archive(|a| {
        a.directory("home", 0o700).directory("home/user", 0o750);
    });
    let base = apply_archive(&base.finish(), &mut below, None).unwrap().tree;
    let middle = archive(|a| {
        a.file("home/user/implied", b"");
    });
    let middle = apply_archive(&middle.finish(), &mut below, None).unwrap().tree;
    let lower = LowerView::new([&middle, &base]);
    let top = archive(|a| {
        a.file("home/user/new/f", b"");
    });
    let mut out = MemoryTree::default();
    let mut applied = apply_archive(&top.finish(), &mut out, Some(&lower)).unwrap();
    assert_eq!((out.mode("home"), out.mode("home/user")), (0o700, 0o750));
    let before = out.clone();
    assert_eq!(settle(&mut applied.tree, &lower, &mut out, EPOCH).unwrap(), 0);
    assert_eq!(out, before);
}
