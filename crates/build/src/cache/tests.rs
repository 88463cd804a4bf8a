//! The cache as builds use it: every part of the key, damage, crashes, many at once, the limit.

mod case;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use vcontainer_image::{Compression, Platform};

use super::*;
use crate::{Request, build};
use case::{Bench, Case};

/// Changes something of a build.
type Change = fn(&mut Case);
/// Damages an entry.
type Damaging = fn(&Path);

fn blobs(bench: &Bench, case: &Case) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(bench.path(case.folder).join(case.name).join("blobs/sha256"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn hits_are_bit_exact_and_nothing_else_in_an_image() {
    let bench = Bench::new();
    let case = Case::new();
    let (first, said) = bench.run(&case, true).unwrap();
    assert_eq!(said.misses, ["base", "app", "conf"]);
    let expected = blobs(&bench, &case);
    fs::remove_dir_all(bench.path("work/image")).unwrap();
    // Nobody has installed anything: all comes out of the cache.
    let (second, said) = bench.run(&case, false).unwrap();
    assert_eq!(said.hits, ["base", "app", "conf"]);
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(blobs(&bench, &case), expected);
    assert!(second.layers.iter().all(|layer| layer.is_cached));
    // The package manager's state is beside the layer, and not in it.
    let entry = bench.entry("base");
    assert_eq!(fs::read(entry.join(STATE)).unwrap(), b"state");
    let marker = fs::read_to_string(entry.join(MARKER)).unwrap();
    let name = entry.file_name().unwrap().to_string_lossy().into_owned();
    let start = format!("cache_key={}\nlayer_name=base\ncreated=", &name[..16]);
    assert!(
        marker.starts_with(&start) && marker.contains("\nmachine=qemuarm64\n"),
        "{marker}"
    );
    assert_eq!(
        first.layers[0].objects,
        Some(5),
        "/, etc with a file, var and var/lib, without dpkg"
    );
}

#[test]
fn the_key_reacts_to_everything_that_matters() {
    let changes: [(&str, &[&str], Change); 16] = [
        ("name", &["base2", "app", "conf"], |case| {
            case.layers[0] = "base2:packages:base-files+busybox";
            let texts = case.inputs.layers.remove("base").unwrap();
            case.inputs.layers.insert("base2".into(), texts);
        }),
        ("type", &["conf"], |case| case.layers[2] = "conf:directories:/opt"),
        ("packages", &["base", "app", "conf"], |case| {
            case.layers[0] = "base:packages:base-files+busybox+netbase";
        }),
        ("version", &["base", "app", "conf"], |case| {
            case.inputs.versions.insert("busybox".into(), "1.37.1".into());
        }),
        ("MACHINE", &["base", "app", "conf"], |case| {
            case.inputs.machine = "qemux86-64".into();
        }),
        ("TUNE_PKGARCH", &["base", "app", "conf"], |case| {
            case.inputs.tune = "cortexa53".into();
        }),
        ("task hash", &["base", "app", "conf"], |case| {
            case.inputs.layers.insert("base".into(), vec!["another".into()]);
        }),
        ("task hash of the last layer", &["conf"], |case| {
            case.inputs.layers.insert("conf".into(), vec!["another".into()]);
        }),
        ("content", &["app", "conf"], |case| case.text = "other"),
        ("time of a file", &["app", "conf"], |case| case.mtime = 400),
        ("order", &["conf", "app"], |case| case.layers.swap(1, 2)),
        ("a layer below", &["app", "conf"], |case| {
            case.layers.insert(1, "more:files:/opt/app/file");
        }),
        ("compression", &["base", "app", "conf"], |case| {
            case.compression = Compression::Zstd;
        }),
        ("level", &["base", "app", "conf"], |case| case.level = Some(9)),
        ("SOURCE_DATE_EPOCH", &["base", "app", "conf"], |case| {
            case.epoch = Some(501);
        }),
        ("platform", &["base", "app", "conf"], |case| {
            case.platform = Platform::new("linux", "amd64", None);
        }),
    ];
    for (what, expected, change) in changes {
        let bench = Bench::new();
        let mut case = Case::new();
        bench.run(&case, true).unwrap();
        change(&mut case);
        let mut misses = bench.run(&case, true).unwrap().1.misses;
        misses.retain(|name| name != "more");
        assert_eq!(misses, expected, "{what}");
    }
}

#[test]
fn the_key_reacts_to_nothing_else() {
    let bench = Bench::new();
    let case = Case::new();
    bench.run(&case, true).unwrap();
    let changes: [(&str, Change); 8] = [
        ("place", |case| case.folder = "somewhere/else"),
        ("image", |case| case.name = "another"),
        ("configuration", |case| case.author = "somebody"),
        ("threads", |case| case.threads = 1),
        ("order of packages", |case| {
            case.layers[0] = "base:packages:busybox+base-files";
        }),
        ("a version of a package that is not in it", |case| {
            case.inputs.versions.insert("curl".into(), "8".into());
        }),
        ("a time that the epoch hides", |case| case.mtime = 2_000),
        ("a layer above", |case| {
            case.layers.push("top:files:/opt/app/file");
        }),
    ];
    for (what, change) in changes {
        let mut case = case.clone();
        change(&mut case);
        let (_, said) = bench.run(&case, false).unwrap();
        assert_eq!(said.hits[..3], ["base", "app", "conf"], "{what}");
    }
}

#[test]
fn packages_of_which_nothing_is_known_are_not_kept() {
    let bench = Bench::new();
    let mut case = Case::new();
    // The versions of the named ones tell nothing of what comes along with them.
    case.inputs.layers.clear();
    for _ in 0..2 {
        let (_, said) = bench.run(&case, true).unwrap();
        assert!(!said.hits.contains(&"base".to_owned()), "{said:?}");
        assert!(!said.misses.contains(&"base".to_owned()), "{said:?}");
    }
    // What lies above is known by the content of what lies below.
    let (_, said) = bench.run(&case, true).unwrap();
    assert_eq!(said.hits, ["app", "conf"]);
}

#[test]
fn layers_below_packages_of_which_nothing_is_known_count() {
    let bench = Bench::new();
    let mut case = Case::new();
    case.inputs.layers.clear();
    // The file is in the first layer, so the last one has nothing.
    case.layers = vec![
        "app:directories:/opt/app",
        "base:packages:base-files",
        "conf:files:/opt/app/file",
    ];
    let (first, _) = bench.run(&case, true).unwrap();
    case.layers.remove(0);
    let (second, said) = bench.run(&case, true).unwrap();
    assert_eq!(first.layers[1].digest, second.layers[0].digest);
    assert_eq!(said.misses, ["conf"], "{said:?}");
    assert_eq!(second.layers[1].objects, Some(4), "/, opt, opt/app and the file");
}

#[test]
fn damage_is_a_miss() {
    let damages: [(&str, Damaging); 7] = [
        ("the digest of its layer", |entry| flip(&entry.join(BLOB))),
        ("the digest of its layer", |entry| {
            let file = File::options().write(true).open(entry.join(BLOB)).unwrap();
            file.set_len(10).unwrap();
        }),
        ("it has no layer", |entry| {
            fs::remove_file(entry.join(BLOB)).unwrap()
        }),
        ("`state` is another one", |entry| flip(&entry.join(STATE))),
        ("cannot be read", |entry| {
            fs::remove_file(entry.join(STATE)).unwrap();
        }),
        ("malformed", |entry| {
            fs::write(entry.join(MARKER), "cache_key=").unwrap()
        }),
        // Somebody with a disk that was full.
        ("", |entry| fs::remove_file(entry.join(MARKER)).unwrap()),
    ];
    for (fault, damage) in damages {
        let bench = Bench::new();
        let case = Case::new();
        let (first, _) = bench.run(&case, true).unwrap();
        let expected = blobs(&bench, &case);
        // Otherwise the layout of the first build would lose its layer, too.
        let entry = bench.entry("base");
        let copy = fs::read(entry.join(BLOB)).unwrap();
        fs::remove_file(entry.join(BLOB)).unwrap();
        fs::write(entry.join(BLOB), copy).unwrap();
        damage(&entry);
        let (second, said) = bench.run(&case, true).unwrap();
        assert_eq!(said.misses, ["base"], "{fault}: {said:?}");
        let told = said.damage.join(" ").replace(".oci-layer-cache is", "is");
        let told = told.replace("file state", "`state`");
        assert!(fault.is_empty() || told.contains(fault), "{fault}: {told}");
        assert_eq!(first.manifest, second.manifest);
        assert_eq!(blobs(&bench, &case), expected);
        // It has been mended.
        assert_eq!(bench.run(&case, false).unwrap().1.hits, ["base", "app", "conf"]);
        assert!(bench.cache.list(true).unwrap().iter().all(is_whole));
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn is_whole(found: &Found) -> bool {
    matches!(found.health, Health::Whole(_))
}

#[test]
fn many_at_once_share_it() {
    let bench = Bench::new();
    let names: Vec<&'static str> = (0..20).map(|number| &*format!("w{number}").leak()).collect();
    let manifests: Vec<_> = std::thread::scope(|scope| {
        let builds: Vec<_> = names
            .iter()
            .map(|name| {
                let bench = &bench;
                scope.spawn(move || {
                    let mut case = Case::new();
                    case.folder = name;
                    let target = bench.path("all/image");
                    bench.with(&case, true, |request| {
                        let request = Request {
                            target: &target,
                            ..*request
                        };
                        build(&request, &mut |_| ()).unwrap().manifest
                    })
                })
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(manifests.iter().all(|manifest| *manifest == manifests[0]));
    assert_eq!(bench.entries().len(), 3, "{:?}", bench.entries());
    assert!(bench.cache.list(true).unwrap().iter().all(is_whole));
}

#[test]
fn what_was_not_used_for_the_longest_time_goes() {
    let bench = Bench::new();
    let case = Case::new();
    bench.run(&case, true).unwrap();
    let set = |layer: &str, seconds: u64| {
        let marker = File::options()
            .write(true)
            .open(bench.entry(layer).join(MARKER))
            .unwrap();
        marker
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    };
    set("base", 30);
    set("app", 10);
    set("conf", 20);
    let found = bench.cache.list(false).unwrap();
    let names = |found: &[Found]| -> Vec<String> {
        found
            .iter()
            .map(|found| match &found.health {
                Health::Whole(entry) => entry.name.clone(),
                Health::Damaged(_) => "(damaged)".into(),
            })
            .collect()
    };
    assert_eq!(names(&found), ["base", "conf", "app"]);
    let gone = bench.cache.prune(found[0].size + found[1].size).unwrap();
    assert_eq!(names(&gone), ["app"]);
    // A hit counts as use, and a limit is kept while something is saved: only what was saved last may be too large.
    let mut small = bench.cache.clone();
    small.limit = Some(1);
    let mut other = case.clone();
    other.text = "other";
    let bench = Bench {
        cache: small,
        ..bench
    };
    let (_, said) = bench.run(&other, true).unwrap();
    assert_eq!(
        (said.hits, said.misses),
        (vec!["base".into()], vec!["app".into(), "conf".into()])
    );
    assert_eq!(names(&bench.cache.list(true).unwrap()), ["conf"]);
    assert_eq!(names(&bench.cache.prune(0).unwrap()), ["conf"]);
    assert_eq!(bench.entries(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_save_leaves_is_no_entry() {
    let bench = Bench::new();
    let case = Case::new();
    bench.run(&case, true).unwrap();
    // As if killed before the rename, with all files there.
    let entry = bench.entry("base");
    let left = bench.path("cache/.vcontainer-new-killed");
    fs::rename(&entry, &left).unwrap();
    assert_eq!(bench.cache.list(true).unwrap().len(), 2);
    let (_, said) = bench.run(&case, true).unwrap();
    assert_eq!(said.misses, ["base"]);
    assert!(!left.exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_told_before_the_work() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let error = Cache::open(&directory.path().join("file"), None).unwrap_err();
    assert!(error.to_string().contains("layer cache"), "{error}");
    // Root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
        assert!(Cache::open(&directory.path().join("cache"), None).is_err());
    }
}
