//! What lies below a layer: links on the way, directories and their modes, names that mean something to engines.

use super::*;

/// A layer's tar stream with these entries: `name -> target` is a link, `name/` a directory, `name=text` a file.
fn stream(entries: &[&str]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for entry in entries {
        let (meta, content) = (
            Meta {
                mode: 0o755,
                ..Meta::default()
            },
            entry.split_once('='),
        );
        if let Some((name, target)) = entry.split_once(" -> ") {
            let kind = EntryKind::Symlink {
                target: target.into(),
            };
            tar.entry(&clean(name), &meta, &kind).unwrap();
        } else if let Some((name, text)) = content {
            let size = text.len() as u64;
            tar.entry(&clean(name), &meta, &EntryKind::File { size }).unwrap();
            tar.content(text.as_bytes()).unwrap();
            tar.pad(size).unwrap();
        } else {
            tar.entry(&clean(entry), &meta, &EntryKind::Directory).unwrap();
        }
    }
    tar.finish().unwrap()
}

fn unpacked(streams: &[&[&str]]) -> Tree {
    let mut unpacker = Unpacker::new(&std::env::temp_dir()).unwrap();
    for entries in streams {
        let stream = stream(entries);
        unpacker.add(&stream[..], Compression::None, "test").unwrap();
    }
    unpacker.finish()
}

fn paths(tree: &Tree) -> String {
    let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
    paths.join(" ")
}

#[test]
fn what_lies_below_a_link_goes_where_it_leads() {
    let base: &[&str] = &["usr/", "usr/bin/", "usr/bin/foo=v1", "bin -> usr/bin"];
    let tree = unpacked(&[base, &["bin/foo=v2", "bin/new=n"]]);
    assert_eq!(paths(&tree), "/ /bin /usr /usr/bin /usr/bin/foo /usr/bin/new");
    assert_eq!(text(&tree, "/usr/bin/foo").unwrap(), "v2");
    // In one stream, too; and what is taken away is found through links.
    let tree = unpacked(&[
        &["bin -> usr/bin", "bin/foo=v", "usr/bin/bar=b"],
        &["bin/.wh.bar="],
    ]);
    assert_eq!(paths(&tree), "/ /bin /usr /usr/bin /usr/bin/foo");
    let tree = unpacked(&[base, &["bin/.wh..wh..opq=", "bin/only=o"]]);
    assert_eq!(paths(&tree), "/ /bin /usr /usr/bin /usr/bin/only");
    // A directory, and nothing else, takes the place of a link.
    let tree = unpacked(&[base, &["bin/"]]);
    assert!(matches!(tree.get(&clean("/bin")).unwrap().kind, Kind::Directory));
}

#[test]
fn a_directory_takes_the_place_of_a_link_that_leads_to_none() {
    let base = unpacked(&[&[
        "file=f",
        "other -> file",
        "link -> other",
        "nowhere -> gone",
        "usr/bin/a=a",
        "bin -> usr/bin",
    ]]);
    let new = unpacked(&[&["file=f", "link/in=l", "nowhere/in=n", "bin/b=b"]]);
    let layer = added(&base, &new).unwrap();
    assert_eq!(
        paths(&layer),
        "/ /gone /gone/in /link /link/in /usr /usr/bin /usr/bin/b"
    );
    let mut all = base;
    all.lay_over(&layer);
    assert_eq!(text(&all, "/file").unwrap(), "f");
    assert_eq!(text(&all, "/link/in").unwrap(), "l");
}

#[test]
fn directories_below_keep_what_they_are_like() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("root/tmp")).unwrap();
    fs::create_dir_all(bench.path("root/var/lib/app")).unwrap();
    for (path, mode) in [("root/tmp", 0o1777), ("root/var/lib/app", 0o750)] {
        fs::set_permissions(bench.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    bench.write("file", "f");
    bench.build("base", "root", None, &[]).unwrap();
    let base = bench.image("base");
    let file = bench.path("file").display().to_string();
    let layer = format!("h:host:{file}:/tmp/f+{file}:/var/lib/app/f+{file}:/new/f");
    bench.build("image", "root", Some(&base), &[&layer]).unwrap();
    let tree = whole(&bench.image("image"));
    let modes = ["/tmp", "/var/lib/app", "/new"].map(|path| tree.get(&clean(path)).unwrap().meta.mode);
    assert_eq!(modes, [0o1777, 0o750, 0o755]);
}

#[test]
fn links_on_the_way_come_along() {
    let bench = Bench::new();
    bench.write("root/usr/bin/sh", "shell");
    symlink("usr/bin", bench.path("root/bin")).unwrap();
    symlink("nowhere", bench.path("root/broken")).unwrap();
    bench.build("files", "root", None, &["a:files:/bin/sh"]).unwrap();
    assert_eq!(
        names(&bench.image("files"), 0),
        ["/", "/bin", "/usr", "/usr/bin", "/usr/bin/sh"]
    );
    bench
        .build("whole", "root", None, &["a:directories:/bin"])
        .unwrap();
    assert_eq!(
        names(&bench.image("whole"), 0),
        ["/", "/bin", "/usr", "/usr/bin", "/usr/bin/sh"]
    );
    let error = bench
        .build("none", "root", None, &["a:directories:/broken"])
        .unwrap_err();
    assert!(error.to_string().contains("/broken"), "{error}");
}

#[test]
fn what_a_layer_cannot_say_is_refused() {
    let bench = Bench::new();
    bench.write("root/etc/.wh.x", "x");
    bench.write("plain/etc/x", "x");
    let error = bench.build("image", "root", None, &[]).unwrap_err().to_string();
    assert!(error.contains("`/etc/.wh.x` cannot be in an image"), "{error}");
    let layer = format!("h:host:{}:/bin/.wh.x", bench.path("plain/etc/x").display());
    let error = bench.build("image", "plain", None, &[&layer]).unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(
        cause.contains("`/bin/.wh.x` cannot be in an image"),
        "{error}: {cause}"
    );
    // In a tar file it would have been taken for what it means in layers.
    let mut unpacker = Unpacker::new(&std::env::temp_dir()).unwrap().without_whiteouts();
    let stream = stream(&["etc/.wh.x=x"]);
    let error = unpacker.add(&stream[..], Compression::None, "a.tar").unwrap_err();
    assert!(error.to_string().starts_with("a.tar: `/etc/.wh.x`"), "{error}");
}

#[test]
fn what_belongs_to_an_ordinary_builder_belongs_to_root() {
    let bench = Bench::new();
    bench.write("root/file", "f");
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let owners = |builder| {
        let tree = scan::directory_of(&bench.path("root"), builder).unwrap();
        let meta = &tree.get(&clean("/file")).unwrap().meta;
        (meta.uid, meta.gid)
    };
    assert_eq!(owners(None), (user, group));
    assert_eq!(owners(Some((user, group))), (0, 0));
    assert_eq!(owners(Some((user + 1, group + 1))), (user, group));
}
