//! Images built from small file systems, read back by the reader of images.

mod below;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use vcontainer_image::{
    Compression, EntryKind, Image, LayerItem, LayerReader, Meta, OpenOptions, Platform, Timestamp, TreePath,
    Xattr,
};

use crate::compress::Method;
use crate::config::Settings;
use crate::definition::Definition;
use crate::diff::added;
use crate::key::Inputs;
use crate::layer::{self, Times};
use crate::tar::TarWriter;
use crate::tree::{Kind, Link, Node, Tree};
use crate::{Built, Error, Request, Unpacker, build, scan};

fn clean(path: &str) -> TreePath {
    TreePath::clean(path.as_bytes()).unwrap()
}

/// A folder with a root filesystem and images.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn build(&self, name: &str, root: &str, base: Option<&Image>, layers: &[&str]) -> Result<Built, Error> {
        let layers: Vec<Definition> = layers.iter().map(|text| text.parse().unwrap()).collect();
        let root = scan::directory(&self.path(root)).unwrap();
        build(
            &Request {
                root: Some(&root),
                base,
                layers: &layers,
                packages: None,
                installed: &BTreeMap::new(),
                states: &BTreeMap::new(),
                inputs: &Inputs::default(),
                cache: None,
                settings: &Settings::default(),
                platform: &Platform::new("linux", "arm64", None),
                method: Method::new(Compression::Gzip, None).unwrap(),
                threads: 2,
                times: Times { epoch: Some(7) },
                tag: "latest",
                annotations: &BTreeMap::new(),
                target: &self.path(name),
            },
            &mut |_| (),
        )
    }

    fn image(&self, name: &str) -> Image {
        let options = OpenOptions::new(Platform::new("linux", "arm64", None));
        vcontainer_image::open(&self.path(name), &options).unwrap()
    }
}

/// The names in a layer; its root is `/`.
fn names(image: &Image, layer: usize) -> Vec<String> {
    let layer = &image.layers[layer];
    let plain = layer.compression.reader(layer.open().unwrap()).unwrap();
    let mut reader = LayerReader::new(std::io::BufReader::new(plain));
    let mut names = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let LayerItem::Entry(entry) = item else {
            panic!("{item:?}")
        };
        assert!(entry.meta.mtime.seconds <= 7);
        names.push(entry.path.to_string());
    }
    names
}

/// What is where when all layers lie one over the other.
fn whole(image: &Image) -> Tree {
    let mut unpacker = Unpacker::new(&std::env::temp_dir()).unwrap();
    for layer in &image.layers {
        unpacker
            .add(layer.open().unwrap(), layer.compression, "image")
            .unwrap();
    }
    unpacker.finish()
}

fn text(tree: &Tree, path: &str) -> Option<String> {
    let Kind::File { content, .. } = &tree.get(&clean(path))?.kind else {
        return None;
    };
    let mut bytes = Vec::new();
    content
        .copy(&mut [0; 100], |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn one_layer_holds_everything() {
    let bench = Bench::new();
    bench.write("root/bin/busybox", "program");
    fs::set_permissions(bench.path("root/bin/busybox"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(bench.path("root/bin/busybox"), bench.path("root/bin/a")).unwrap();
    symlink("busybox", bench.path("root/bin/sh")).unwrap();
    bench.write(&format!("root/{}/{}", "d".repeat(120), "f".repeat(255)), "deep");
    let built = bench.build("image", "root", None, &[]).unwrap();
    let image = bench.image("image");
    assert_eq!((built.layers.len(), image.layers.len()), (1, 1));
    assert_eq!(image.config_view.history.len(), 1);
    assert_eq!(image.config_view.created.as_deref(), Some("1970-01-01T00:00:07Z"));
    let tree = whole(&image);
    assert_eq!(text(&tree, "/bin/busybox").unwrap(), "program");
    assert_eq!(tree.get(&clean("/bin/a")).unwrap().meta.mode, 0o4755);
    let link = |path: &str| match tree.get(&clean(path)).unwrap().kind {
        Kind::File { link, .. } => link,
        _ => None,
    };
    assert!(link("/bin/a").is_some() && link("/bin/a") == link("/bin/busybox"));
    assert!(matches!(&tree.get(&clean("/bin/sh")).unwrap().kind, Kind::Symlink(to) if to == b"busybox"));
    assert!(text(&tree, &format!("/{}/{}", "d".repeat(120), "f".repeat(255))).is_some());
    // The same again is the same, and takes the place of what was there.
    bench.write("image/old", "");
    assert_eq!(bench.build("image", "root", None, &[]).unwrap(), built);
    assert!(!bench.path("image/old").exists());
    let left: Vec<_> = fs::read_dir(bench.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_base_is_not_repeated() {
    let bench = Bench::new();
    for (name, content) in [("bin/sh", "shell"), ("etc/same", "same"), ("etc/other", "old")] {
        bench.write(&format!("below/{name}"), content);
    }
    symlink("bin", bench.path("below/sbin")).unwrap();
    bench.build("base", "below", None, &[]).unwrap();
    bench.write("root/etc/same", "same");
    bench.write("root/etc/other", "new");
    bench.write("root/opt/app", "app");
    // A directory here, where the base has a link to one.
    bench.write("root/sbin/init", "init");
    // A link here, where the base has a directory.
    symlink("usr/bin", bench.path("root/bin")).unwrap();
    bench.write("root/usr/bin/tool", "tool");
    let base = bench.image("base");
    bench.build("image", "root", Some(&base), &[]).unwrap();
    let image = bench.image("image");
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[0].digest, base.layers[0].digest);
    let added = names(&image, 1);
    assert!(
        !added.contains(&"/etc/same".to_owned()) && !added.contains(&"/sbin".to_owned()),
        "{added:?}"
    );
    let tree = whole(&image);
    assert_eq!(text(&tree, "/etc/other").unwrap(), "new");
    assert_eq!(text(&tree, "/opt/app").unwrap(), "app");
    assert!(matches!(&tree.get(&clean("/bin")).unwrap().kind, Kind::Symlink(to) if to == b"usr/bin"));

    // Nothing new is a layer with nothing in it.
    bench.build("nothing", "below", Some(&base), &[]).unwrap();
    let nothing = bench.image("nothing");
    assert_eq!((nothing.layers.len(), names(&nothing, 1).len()), (2, 0));
}

#[test]
fn every_file_is_in_the_first_layer_that_names_it() {
    let bench = Bench::new();
    for name in ["etc/a", "etc/b", "opt/app/bin/x", "usr/share/doc/d"] {
        bench.write(&format!("root/{name}"), name);
    }
    bench.write("host/script", "#!/bin/sh\n");
    let host = format!(
        "tools:host:{}:/usr/local/bin/script",
        bench.path("host/script").display()
    );
    let layers = [
        "conf:directories:/etc",
        "app:directories:/opt/app+/etc",
        "doc:files:/usr/share/doc/d",
        &host,
    ];
    bench.build("image", "root", None, &layers).unwrap();
    let image = bench.image("image");
    assert_eq!(names(&image, 0), ["/", "/etc", "/etc/a", "/etc/b"]);
    assert_eq!(
        names(&image, 1),
        ["/", "/opt", "/opt/app", "/opt/app/bin", "/opt/app/bin/x"]
    );
    assert_eq!(
        names(&image, 2),
        ["/", "/usr", "/usr/share", "/usr/share/doc", "/usr/share/doc/d"]
    );
    assert_eq!(
        text(&whole(&image), "/usr/local/bin/script").unwrap(),
        "#!/bin/sh\n"
    );
    let history: Vec<&str> = image
        .config_view
        .history
        .iter()
        .map(|step| step.created_by.as_str())
        .collect();
    assert_eq!(history[0], "vcontainer oci build: conf:directories:/etc");
}

/// Each has several names, and none of the other.
#[test]
fn files_of_the_host_are_not_mixed_up() {
    let bench = Bench::new();
    bench.write("root/etc/a", "a");
    for name in ["one", "two"] {
        bench.write(name, name);
        fs::hard_link(bench.path(name), bench.path(&format!("{name}-again"))).unwrap();
    }
    let path = |name: &str| bench.path(name).display().to_string();
    let layer = format!(
        "x:host:{}:/1+{}:/2+{}:/3",
        path("one"),
        path("two"),
        path("one-again")
    );
    bench.build("image", "root", None, &[&layer]).unwrap();
    let tree = whole(&bench.image("image"));
    let texts = ["/1", "/2", "/3"].map(|path| text(&tree, path).unwrap());
    assert_eq!(texts, ["one", "two", "one"]);
    // A link to a root filesystem is as good.
    symlink("root", bench.path("link")).unwrap();
    bench.build("image", "link", None, &[]).unwrap();
    assert_eq!(text(&whole(&bench.image("image")), "/etc/a").unwrap(), "a");
}

#[test]
fn what_is_wrong_names_the_layer_and_changes_nothing() {
    let bench = Bench::new();
    bench.write("root/etc/a", "a");
    bench.write("image/index.json", "precious");
    for (layer, fault) in [
        ("x:directories:/opt", "`/opt` is not in the root filesystem"),
        ("x:files:/etc", "is a directory: use the type directories"),
        ("x:directories:/etc/a", "is no directory: use the type files"),
        ("x:packages:busybox", "name a Debian release with --suite"),
        ("x:host:/nonexistent/file:/a", "/nonexistent/file"),
    ] {
        let error = bench.build("image", "root", None, &[layer]).unwrap_err();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let error = error.to_string();
        assert!(error.contains(layer), "{error}");
        assert!(error.contains(fault) || cause.contains(fault), "{error}: {cause}");
        let left = fs::read_dir(bench.path("")).unwrap().count();
        assert_eq!(
            (left, fs::read(bench.path("image/index.json")).unwrap()),
            (2, b"precious".to_vec())
        );
    }
    bench.build("base", "root", None, &[]).unwrap();
    let mut base = bench.image("base");
    base.config_view.architecture = "amd64".into();
    let error = bench
        .build("image", "root", Some(&base), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("linux/amd64") && error.contains("linux/arm64"),
        "{error}"
    );
}

#[test]
fn a_file_that_changes_meanwhile_is_told() {
    let bench = Bench::new();
    bench.write("root/a", "before");
    let tree = scan::directory(&bench.path("root")).unwrap();
    for text in ["after it was looked at", "short"] {
        bench.write("root/a", text);
        let method = Method::new(Compression::None, None).unwrap();
        let error = layer::write(&tree, Times::default(), method, 1, Path::new("/tmp")).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            error.to_string().contains("root/a") && source == "it has changed while it was read",
            "{error}: {source}"
        );
    }
}

#[test]
fn layers_take_away_what_lies_below() {
    let mut unpacker = Unpacker::new(&std::env::temp_dir()).unwrap();
    let layer = |entries: &[(&str, EntryKind)]| {
        let mut tar = TarWriter::new(Vec::new());
        for (path, kind) in entries {
            tar.entry(&clean(path), &Meta::default(), kind).unwrap();
        }
        tar.finish().unwrap()
    };
    let file = EntryKind::File { size: 0 };
    let link = |to: &str| EntryKind::Hardlink { target: clean(to) };
    let lower = layer(&[
        ("a/one", file.clone()),
        ("a/two", file.clone()),
        ("b/one", file.clone()),
        ("z", file.clone()),
        ("other-name-of-z", link("z")),
    ]);
    let upper = layer(&[
        ("a/.wh.one", file.clone()),
        ("b/.wh..wh..opq", file.clone()),
        ("b/new", file),
        (".wh.z", EntryKind::File { size: 0 }),
    ]);
    unpacker.add(&lower[..], Compression::None, "lower").unwrap();
    unpacker.add(&upper[..], Compression::None, "upper").unwrap();
    let bad = layer(&[("x", link("nothing"))]);
    let error = unpacker
        .add(&bad[..], Compression::None, "bad")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("bad: entry `/x` is another name of `/nothing`"),
        "{error}"
    );
    let tree = unpacker.finish();
    let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/", "/a", "/a/two", "/b", "/b/new", "/other-name-of-z"]);
}

fn a_meta() -> impl Strategy<Value = Meta> {
    let xattr =
        (any::<[u8; 3]>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(name, value)| Xattr {
            name: format!("user.{}", name.map(|byte| format!("{byte:02x}")).concat()).into_bytes(),
            value,
        });
    let xattrs = prop::collection::btree_map(any::<u8>(), xattr, 0..3);
    (0..0o10000u32, any::<u32>(), any::<u32>(), -5i64..1 << 40, xattrs).prop_map(
        |(mode, uid, gid, seconds, xattrs)| {
            let mut xattrs: Vec<Xattr> = xattrs.into_values().collect();
            xattrs.sort();
            xattrs.dedup_by(|one, other| one.name == other.name);
            Meta {
                mode,
                uid,
                gid,
                mtime: Timestamp {
                    seconds,
                    nanoseconds: 0,
                },
                xattrs,
            }
        },
    )
}

fn a_path() -> impl Strategy<Value = TreePath> {
    prop::collection::vec("[a-c.\u{e4}-]{1,3}|x{90,200}", 1..4).prop_filter_map("dots", |parts| {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        (!parts.contains(&&b"."[..])
            && !parts.contains(&&b".."[..])
            && !parts.iter().any(|part| part.starts_with(b".wh.")))
        .then(|| TreePath::of_components(&parts))
    })
}

proptest! {
    #[test]
    fn a_tar_is_read_as_it_was_written(entries in prop::collection::vec((a_path(), a_meta(), 0..6u8, 0..2000u64), 0..10)) {
        let mut tar = TarWriter::new(Vec::new());
        let mut expected = Vec::new();
        for (path, meta, kind, number) in entries {
            let kind = match kind {
                0 => EntryKind::File { size: number },
                1 => EntryKind::Directory,
                2 => EntryKind::Symlink { target: vec![b't'; usize::try_from(number).unwrap() + 1] },
                3 => EntryKind::Hardlink { target: path.clone() },
                4 => EntryKind::Char { major: 5, minor: u32::try_from(number).unwrap() },
                _ => EntryKind::Fifo,
            };
            tar.entry(&path, &meta, &kind).unwrap();
            if let EntryKind::File { size } = kind {
                tar.content(&vec![7; usize::try_from(size).unwrap()]).unwrap();
                tar.pad(size).unwrap();
            }
            expected.push((path, meta, kind));
        }
        let bytes = tar.finish().unwrap();
        let mut reader = LayerReader::new(&bytes[..]);
        let mut found = Vec::new();
        while let Some(LayerItem::Entry(entry)) = reader.next_item().unwrap() {
            found.push((entry.path, entry.meta, entry.kind));
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_was_added_makes_the_whole(
        base in prop::collection::btree_map(a_path(), 0..5u8, 0..12),
        new in prop::collection::btree_map(a_path(), 0..5u8, 0..12),
    ) {
        let tree = |nodes: BTreeMap<TreePath, u8>| {
            let mut tree = Tree::default();
            for (path, kind) in nodes {
                let mut node = Node::directory();
                match kind {
                    0 => node.kind = Kind::Fifo,
                    1 => node.kind = Kind::Symlink(b"nowhere/at/all".to_vec()),
                    2 => node.meta.mode = 0o700,
                    kind => node.kind = Kind::Char(kind.into(), 1),
                }
                // Nothing lies in what is no directory.
                let mut parent = path.parent();
                let mut fits = true;
                while let Some(at) = parent {
                    fits &= tree.get(&at).is_none_or(|node: &Node| matches!(node.kind, Kind::Directory));
                    parent = at.parent();
                }
                if fits {
                    tree.insert_parents(&path);
                    tree.insert(path, node);
                }
            }
            tree
        };
        let (base, new) = (tree(base), tree(new));
        let layer = added(&base, &new).unwrap();
        // All that is new is there or the same below; where the base has a link, the path follows it.
        for (path, node) in new.iter() {
            let place = crate::diff::place(&base, path).unwrap();
            let found = layer.get(&place).or_else(|| base.get(&place)).unwrap();
            let is_link_below = matches!(base.get(&place), Some(Node { kind: Kind::Symlink(_), .. }))
                && matches!(node.kind, Kind::Directory);
            prop_assert!(
                is_link_below || std::mem::discriminant(&found.kind) == std::mem::discriminant(&node.kind),
                "{}: {:?} {:?}", path, found, node
            );
        }
        // Every object of the layer has its parent there, as directory.
        for (path, _) in layer.iter() {
            if let Some(parent) = path.parent() {
                prop_assert!(matches!(layer.get(&parent).unwrap().kind, Kind::Directory));
            }
        }
        // The same over itself adds nothing.
        prop_assert!(added(&new, &new).unwrap().is_empty());
    }
}

proptest! {
    // Each compresses up to 4 MB six times.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_make_no_difference(
        seed in any::<u64>(),
        length in prop_oneof![0..100usize, (1usize << 20) - 2..(1usize << 20) + 2, 0..4_000_000usize],
        zstd in any::<bool>(),
        level in 1..4i32,
    ) {
        // Neither all the same nor all different.
        let bytes: Vec<u8> = (0..length as u64)
            .map(|at| (at.wrapping_mul(seed | 1) >> 20) as u8 & 0x3f)
            .collect();
        let compression = if zstd { Compression::Zstd } else { Compression::Gzip };
        let method = Method::new(compression, Some(level)).unwrap();
        let compressed = [1, 2, 3].map(|threads| {
            let mut writer = method.writer(Vec::new(), threads).unwrap();
            std::io::Write::write_all(&mut writer, &bytes).unwrap();
            writer.finish().unwrap()
        });
        prop_assert!(compressed[0] == compressed[1] && compressed[0] == compressed[2]);
        let mut plain = Vec::new();
        let mut reader = compression.reader(&compressed[0][..]).unwrap();
        std::io::Read::read_to_end(&mut reader, &mut plain).unwrap();
        prop_assert!(plain == bytes);
    }
}

#[test]
fn one_file_of_several_names_is_written_once() {
    let mut tree = Tree::default();
    let bench = Bench::new();
    bench.write("a", "text");
    let mut scanner = scan::Scanner::default();
    scanner.add(&bench.path("a"), &clean("/f")).unwrap();
    let file = scanner.finish();
    let mut node = file.get(&clean("/f")).unwrap().clone();
    if let Kind::File { link, .. } = &mut node.kind {
        *link = Some(Link(0));
    }
    for name in ["/z", "/a", "/m"] {
        tree.insert(clean(name), node.clone());
    }
    let method = Method::new(Compression::None, None).unwrap();
    let layer = layer::write(&tree, Times::default(), method, 1, &bench.path("")).unwrap();
    // Three headers, one block of content, two at the end.
    assert_eq!(layer.unpacked, 512 * 6);
}
