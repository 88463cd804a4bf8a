//! Images made of small root filesystems, whole and damaged, as each question sees them.

mod damage;
mod hostile;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vcontainer_build::compress::Method;
use vcontainer_build::config::Settings;
use vcontainer_build::index::{self, Form};
use vcontainer_build::key::Inputs;
use vcontainer_build::layer::Times;
use vcontainer_build::{Request, build, scan};
use vcontainer_image::{Compression, History, Image, OpenOptions, Platform, list};

use crate::describe::{Layer, describe};
use crate::diff::{Change, What, diff};
use crate::layers::compare;
use crate::read::Limits;
use crate::verify::{Verified, verify};

/// A folder with root filesystems and images.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.write("root/etc/name", "base");
        bench.write("root/usr/tool", "tool");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn build(
        &self,
        name: &str,
        architecture: &str,
        base: Option<&Image>,
        layers: &[&str],
        settings: &Settings,
    ) -> Image {
        let layers: Vec<_> = layers.iter().map(|text| text.parse().unwrap()).collect();
        let root = scan::directory(&self.path("root")).unwrap();
        build(
            &Request {
                root: Some(&root),
                base,
                layers: &layers,
                settings,
                platform: &Platform::new("linux", architecture, None),
                method: Method::new(Compression::Gzip, None).unwrap(),
                threads: 1,
                times: Times { epoch: Some(7) },
                tag: "latest",
                annotations: &BTreeMap::new(),
                target: &self.path(name),
                packages: None,
                installed: &BTreeMap::new(),
                states: &BTreeMap::new(),
                inputs: &Inputs::default(),
                cache: None,
                is_given_up: &|| false,
            },
            &mut |_| (),
        )
        .unwrap();
        self.read(name)
    }

    fn read(&self, name: &str) -> Image {
        let options = OpenOptions::new(Platform::new("linux", "arm64", None));
        list(&self.path(name), &options).unwrap().remove(0)
    }

    fn verify(&self, name: &str) -> Verified {
        verify(&self.path(name), Limits::default()).unwrap()
    }

    /// A base with two layers, and two images upon it with one more each.
    fn family(&self) -> [Image; 3] {
        let plain = Settings::default();
        let base = self.build(
            "base",
            "arm64",
            None,
            &["e:directories:/etc", "u:directories:/usr"],
            &plain,
        );
        self.write("root/opt/app", "the app");
        let app = self.build("app", "arm64", Some(&base), &["a:directories:/opt"], &plain);
        self.write("root/opt/app", "another app");
        let other = self.build("other", "arm64", Some(&base), &["a:directories:/opt"], &plain);
        [base, app, other]
    }
}

fn rename(folder: &Path, from: &str, to: &str) {
    fs::rename(folder.join(from), folder.join(to)).unwrap();
}

#[test]
fn what_is_shared_counts_once() {
    let bench = Bench::new();
    let images: Vec<(String, Image)> = bench
        .family()
        .into_iter()
        .zip(["base", "app", "other"])
        .map(|(image, name)| (name.to_owned(), image))
        .collect();
    let found = compare(&images, Limits::default()).unwrap();
    let who: Vec<&[usize]> = found.layers.iter().map(|layer| layer.images.as_slice()).collect();
    assert_eq!(who, [&[0, 1, 2][..], &[0, 1, 2], &[1], &[2]]);
    let stacks: Vec<&[usize]> = found.images.iter().map(|image| image.layers.as_slice()).collect();
    assert_eq!(stacks, [&[0, 1][..], &[0, 1, 2], &[0, 1, 3]]);
    let sizes: Vec<u64> = found.layers.iter().map(|layer| layer.size).collect();
    let base = sizes[0] + sizes[1];
    assert_eq!(found.total, 3 * base + sizes[2] + sizes[3]);
    assert_eq!(found.needed, base + sizes[2] + sizes[3]);
    assert_eq!(found.saved, 2 * base);
    assert_eq!(found.images[1].shared, base);
    // The root, a directory, a file.
    assert_eq!(found.layers[0].objects, 3);
    // Three headers, one block of content, the end.
    assert_eq!(found.layers[0].unpacked, 6 * 512);
    assert_eq!(
        found.layers[2].created_by,
        "vcontainer oci build: a:directories:/opt"
    );
}

#[test]
fn a_description_joins_history_and_layers() {
    let bench = Bench::new();
    let settings = Settings {
        entrypoint: Some(vec!["/usr/tool".into()]),
        labels: [("note".to_owned(), "a b".to_owned())].into(),
        ports: ["80".parse().unwrap()].into(),
        ..Settings::default()
    };
    let image = bench.build(
        "x",
        "arm64",
        None,
        &["e:directories:/etc", "u:directories:/usr"],
        &settings,
    );
    let found = describe(&image).unwrap();
    assert_eq!(found.platform, "linux/arm64");
    assert_eq!(found.tags, ["latest"]);
    assert_eq!(found.configuration.entrypoint, ["/usr/tool"]);
    assert_eq!(found.configuration.ports, ["80/tcp"]);
    assert_eq!(found.history.len(), 2);
    for (step, layer) in found.history.iter().zip(&image.layers) {
        let made = step.layer.as_ref().unwrap();
        assert_eq!(
            (made.digest, made.diff_id, made.size),
            (layer.digest, layer.diff_id, layer.size)
        );
        assert!(step.created_by.starts_with("vcontainer oci build: "));
    }
    let joined = |history: &[History]| -> Vec<Option<usize>> {
        let place = |made: &Layer| image.layers.iter().position(|layer| layer.digest == made.digest);
        let steps = crate::describe::steps(history, &image.layers);
        steps
            .iter()
            .map(|step| step.layer.as_ref().and_then(place))
            .collect()
    };
    let mut history = image.config_view.history.clone();
    history.insert(1, history[0].clone());
    // Three steps and two layers: nothing says which are whose.
    assert_eq!(joined(&history), [None, None, None, Some(0), Some(1)]);
    history[1].empty_layer = true;
    assert_eq!(joined(&history), [Some(0), None, Some(1)]);
    assert_eq!(joined(&[]), [Some(0), Some(1)]);
}

#[test]
fn a_difference_is_told_down_to_the_file() {
    let bench = Bench::new();
    let root = bench.path("root");
    symlink("tool", root.join("usr/link")).unwrap();
    bench.write("root/usr/gone", "");
    bench.write("root/usr/script", "");
    bench.write("root/usr/turned", "");
    let a = bench.build("a", "arm64", None, &[], &Settings::default());
    bench.write("root/etc/name", "BASE");
    bench.write("root/usr/tool", "longer than it was");
    fs::remove_file(root.join("usr/gone")).unwrap();
    bench.write("root/usr/new\x1b", "");
    fs::remove_file(root.join("usr/link")).unwrap();
    symlink("/etc/name", root.join("usr/link")).unwrap();
    fs::remove_file(root.join("usr/turned")).unwrap();
    symlink("tool", root.join("usr/turned")).unwrap();
    fs::set_permissions(root.join("usr/script"), fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings {
        cmd: Some(vec!["sh".into()]),
        env: vec![("EMPTY".into(), String::new())],
        ..Settings::default()
    };
    let b = bench.build("b", "arm64", None, &[], &settings);
    let found = diff(&a, &b, Limits::default(), bench.0.path()).unwrap();
    let files: Vec<(&str, Change, &[What])> = found
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.change, file.what.as_slice()))
        .collect();
    assert_eq!(
        files,
        [
            ("/etc/name", Change::Changed, &[What::Content][..]),
            ("/usr/gone", Change::Removed, &[]),
            ("/usr/link", Change::Changed, &[What::Target]),
            ("/usr/new\\x1b", Change::Added, &[]),
            ("/usr/script", Change::Changed, &[What::Mode]),
            ("/usr/tool", Change::Changed, &[What::Content, What::Size]),
            ("/usr/turned", Change::Changed, &[What::Kind, What::Mode]),
        ]
    );
    let settings: Vec<String> = found
        .settings
        .iter()
        .map(|setting| format!("{} {} {}", setting.field, setting.a, setting.b))
        .collect();
    assert_eq!(settings, ["cmd null [\"sh\"]", "env EMPTY null \"\""]);
    assert_eq!(
        (
            found.layers.only_a.len(),
            found.layers.only_b.len(),
            found.layers.both.len()
        ),
        (1, 1, 0)
    );
}

#[test]
fn an_image_does_not_differ_from_itself() {
    let bench = Bench::new();
    for image in bench.family() {
        assert!(
            diff(&image, &image, Limits::default(), bench.0.path())
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn other_layers_with_the_same_files_are_told_as_layers_only() {
    let bench = Bench::new();
    let plain = Settings::default();
    let one = bench.build("one", "arm64", None, &[], &plain);
    let two = bench.build(
        "two",
        "arm64",
        None,
        &["e:directories:/etc", "u:directories:/usr"],
        &plain,
    );
    let found = diff(&one, &two, Limits::default(), bench.0.path()).unwrap();
    assert_eq!(found.files, []);
    assert!(!found.is_empty());
}

#[test]
fn whole_layouts_are_whole() {
    let bench = Bench::new();
    bench.family();
    let images = [
        bench.read("app"),
        bench.build("amd", "amd64", None, &[], &Settings::default()),
    ];
    for (form, name) in [(Form::Nested, "nested"), (Form::Flat, "flat")] {
        index::write(&images, form, "1.0", &bench.path(name)).unwrap();
        let found = bench.verify(name);
        assert_eq!((found.findings, found.notes), (vec![], vec![]));
        let told: Vec<(&str, usize, bool)> = found
            .images
            .iter()
            .map(|image| (image.platform.as_str(), image.layers, image.ok))
            .collect();
        assert_eq!(told, [("linux/arm64", 3, true), ("linux/amd64", 1, true)]);
        assert!(found.images.iter().all(|image| image.tags == ["1.0"]));
    }
}
