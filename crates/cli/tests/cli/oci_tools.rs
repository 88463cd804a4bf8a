//! `vcontainer oci` but for `build`: several platforms in one layout, and what images are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::fixture::{Bench, Ran, layout};

/// Layouts `arm` and `amd`, each with one image of two layers.
fn bench() -> Bench {
    let bench = Bench::new(&[]);
    layout(&bench.path("arm"), "one", "arm64");
    layout(&bench.path("amd"), "two", "amd64");
    bench
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.good().stdout()).unwrap()
}

/// Everything in the folder of a bench: paths, and what links and small files hold.
fn all(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let content = match fs::symlink_metadata(&path).unwrap() {
            what if what.is_symlink() => format!("-> {:?}", fs::read_link(&path).unwrap()),
            what if what.is_dir() => {
                found.extend(all(&path));
                String::new()
            }
            _ => format!("{:?}", fs::read(&path).unwrap()),
        };
        found.push(format!("{} {content}", path.display()));
    }
    found.sort();
    found
}

/// It must fail with one error that says all of this, and change nothing.
#[track_caller]
fn refused(bench: &Bench, arguments: &[&str], says: &[&str]) {
    let before = all(&bench.path(""));
    let ran = bench.run(&[&["oci"], arguments].concat());
    let message = ran.stderr();
    assert_eq!((ran.code(), ran.stdout()), (1, String::new()), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    for part in says {
        assert!(message.contains(part), "the message lacks `{part}`:\n{message}");
    }
    assert_eq!(all(&bench.path("")), before, "{arguments:?}");
}

#[test]
fn images_are_put_together_and_taken_apart() {
    let bench = bench();
    let ran = bench
        .run(&["oci", "index", "--output", "out", "app:1.0", "arm", "amd"])
        .good();
    assert!(
        ran.stdout().starts_with("out/app-1.0-oci: 2 platforms\n"),
        "{}",
        ran.stdout()
    );
    assert_eq!(
        fs::read_link(bench.path("out/app-latest-oci")).unwrap(),
        Path::new("app-1.0-oci")
    );
    let listed = json(bench.run(&["oci", "list", "--format", "json", "out/app-latest-oci"]));
    assert_eq!(listed[0]["platform"], "linux/arm64");
    assert_eq!(listed[1]["platform"], "linux/amd64");
    for image in listed.as_array().unwrap() {
        assert_eq!((&image["tags"][0], &image["layers"]), (&"1.0".into(), &2.into()));
    }
    let single = json(bench.run(&["oci", "list", "--format", "json", "amd"]));
    assert_eq!(single[0]["tags"], Value::Array(Vec::new()));
    let ran = bench
        .run(&[
            "oci",
            "extract",
            "out/app-1.0-oci",
            "--arch",
            "x86_64",
            "--output",
            "one",
            "app",
        ])
        .good();
    assert!(
        ran.stdout()
            .starts_with("one/app-latest-oci (linux/amd64): 2 layers\n")
    );
    let one = json(bench.run(&["oci", "list", "--format", "json", "one/app-latest-oci"]));
    assert_eq!(one[0]["digest"], single[0]["digest"]);
    assert_eq!(one[0]["digest"], listed[1]["digest"]);
    bench
        .run(&["oci", "verify", "out/app-1.0-oci", "one/app-latest-oci"])
        .good();
    let table = bench.run(&["oci", "list", "out/app-1.0-oci"]).good().stdout();
    let words: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(
        words,
        [
            ["PLATFORM", "TAG", "LAYERS"],
            ["linux/arm64", "1.0", "2"],
            ["linux/amd64", "1.0", "2"]
        ]
    );
}

#[test]
fn the_directory_can_have_another_name() {
    let bench = bench();
    let ran = bench
        .run(&[
            "oci",
            "index",
            "--flat",
            "--layout-name",
            "app-multiarch-oci",
            "-q",
            "app",
            "arm",
            "amd",
        ])
        .good();
    assert_eq!(ran.stdout(), "");
    assert_eq!(
        json(bench.run(&["oci", "list", "--format=json", "app-multiarch-oci"]))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(!bench.path("app-latest-oci").exists());
    // Again, over what is there, and of what was put together before.
    layout(&bench.path("v7"), "three", "arm");
    let index = [
        "oci",
        "index",
        "--layout-name",
        "app-multiarch-oci",
        "-q",
        "app",
        "app-multiarch-oci",
        "v7",
    ];
    bench.run(&index).good();
    assert_eq!(
        json(bench.run(&["oci", "list", "--format=json", "app-multiarch-oci"]))
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_bundle_takes_its_platform_out_of_it() {
    let bench = bench();
    for form in [&["--flat"][..], &[]] {
        bench
            .run(
                &[
                    &["oci", "index", "-q", "--output=deploy", "app", "arm", "amd"],
                    form,
                ]
                .concat(),
            )
            .good();
        let ran = bench
            .run(&[
                "bundle",
                "--images=deploy",
                "--arch=aarch64",
                "--rootfs=root",
                "--dry-run",
                "app:docker",
            ])
            .good();
        assert!(ran.stdout().contains("app"), "{}", ran.stdout());
        let ran = bench.run(&[
            "bundle",
            "--images=deploy",
            "--arch=riscv64",
            "--tar=-",
            "app:docker",
        ]);
        assert!(ran.stderr().contains("linux/amd64"), "{}", ran.stderr());
    }
}

#[test]
fn wrong_parts_of_an_index() {
    let bench = bench();
    layout(&bench.path("again"), "three", "arm64");
    bench.write("file", b"no image");
    refused(
        &bench,
        &["index", "x", "arm", "again"],
        &["`again`", "`arm`", "linux/arm64"],
    );
    refused(&bench, &["index", "x", "arm", "root"], &["`root`", "index.json"]);
    refused(&bench, &["index", "x", "arm", "file"], &["`file`"]);
    refused(&bench, &["index", "x", "arm", "nowhere"], &["`nowhere`"]);
    refused(&bench, &["index", "x/y", "arm"], &["`x/y`", "name"]);
    refused(
        &bench,
        &["index", "--layout-name", "../x", "x", "arm"],
        &["`../x`", "--output"],
    );
    refused(
        &bench,
        &["extract", "arm", "--arch", "riscv64", "x"],
        &["linux/riscv64", "only: linux/arm64"],
    );
    refused(
        &bench,
        &["extract", "arm", "--arch", "vax", "x"],
        &["--arch", "`vax`"],
    );
    refused(
        &bench,
        &["extract", "arm", "--arch", "arm64", "--select", "2.0", "x"],
        &["`2.0`"],
    );
    refused(&bench, &["list", "root"], &["`root`"]);
    assert_eq!(bench.run(&["oci", "index", "x"]).code(), 2);
}

#[test]
fn a_damaged_blob_ends_an_index() {
    for (kind, flips) in [
        ("layer", true),
        ("layer", false),
        ("manifest", true),
        ("manifest", false),
        ("config", false),
    ] {
        let bench = bench();
        let described = json(bench.run(&["oci", "inspect", "--format=json", "amd"]));
        let digest = match kind {
            "layer" => &described[0]["history"][1]["layer"]["digest"],
            "manifest" => &described[0]["digest"],
            _ => &described[0]["configuration"]["digest"],
        };
        let digest = digest.as_str().unwrap();
        let blob = bench.path("amd/blobs").join(digest.replace(':', "/"));
        match flips {
            true => {
                let mut bytes = fs::read(&blob).unwrap();
                bytes[10] ^= 1;
                fs::write(&blob, bytes).unwrap();
            }
            false => fs::remove_file(&blob).unwrap(),
        }
        refused(&bench, &["index", "x", "arm", "amd"], &["amd", digest]);
        let ran = bench.run(&["oci", "verify", "arm", "amd"]);
        assert_eq!(ran.code(), 1);
        let lines: Vec<String> = ran.stdout().lines().map(str::to_owned).collect();
        let faults = lines
            .iter()
            .filter(|line| line.starts_with("amd: ") && line.contains(digest) && !line.contains("note: "))
            .count();
        assert_eq!(faults, 1, "{lines:#?}");
        assert!(
            lines[0].starts_with("arm: linux/arm64 ") && lines[0].ends_with("2 layers, ok"),
            "{lines:#?}"
        );
        assert!(ran.stderr().contains("1 fault found"), "{}", ran.stderr());
    }
}

#[test]
fn what_an_image_says_cannot_steer_the_terminal() {
    let bench = bench();
    bench
        .run(&[
            "oci",
            "build",
            "-q",
            "--arch=arm64",
            "--rootfs=root",
            "--label=note=\x1b[2Jcolour\nline",
            "--annotation=x=\x07",
            "evil",
        ])
        .good();
    let table = bench.run(&["oci", "inspect", "evil-latest-oci"]).good().stdout();
    assert!(
        table.contains("note=\\u{1b}[2Jcolour\\nline") && table.contains("x=\\u{7}"),
        "{table}"
    );
    let plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    assert!(plain(&table));
    let differences = bench
        .run(&["oci", "diff", "arm", "evil-latest-oci"])
        .good()
        .stdout();
    assert!(
        plain(&differences) && differences.contains("note"),
        "{differences}"
    );
    let described = json(bench.run(&["oci", "inspect", "--format=json", "evil-latest-oci"]));
    assert_eq!(
        described[0]["configuration"]["labels"]["note"],
        "\x1b[2Jcolour\nline"
    );
}

#[test]
fn layers_are_compared_and_drawn() {
    let bench = bench();
    let other = "<img src=x onerror=alert(1)>";
    layout(&bench.path(other), "three", "arm64");
    let ran = bench
        .run(&["oci", "layers", "--html", "page.html", "arm", "amd", other])
        .good();
    let last = ran.stdout();
    let last = last.lines().last().unwrap();
    // Three layers are of one image, and all have the base.
    assert_eq!(
        last,
        "3 images, 4 layers: 12.00 KiB in all, 8.00 KiB needed, 4.00 KiB saved by sharing"
    );
    let compared = json(bench.run(&["oci", "layers", "--format=json", "arm", "amd", other]));
    assert_eq!(compared["layers"][0]["images"], serde_json::json!([0, 1, 2]));
    assert_eq!(compared["saved"], 4096);
    let page = bench.read("page.html");
    for layer in compared["layers"].as_array().unwrap() {
        assert!(page.contains(layer["digest"].as_str().unwrap()));
    }
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.contains("<img"));
    assert!(!page.contains("://") && !page.contains("<script"));
    let ran = bench.run(&["oci", "layers", "--html", "nowhere/page.html", "arm"]);
    assert!(
        ran.code() == 1 && ran.stderr().contains("`nowhere/page.html`"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn a_difference_can_be_the_exit_status() {
    let bench = bench();
    bench.run(&["oci", "index", "-q", "both", "arm", "amd"]).good();
    let same = bench
        .run(&[
            "oci",
            "diff",
            "--exit-code",
            "--arch=arm64",
            "both-latest-oci",
            "arm",
        ])
        .good();
    assert_eq!(same.stdout(), "no difference\n");
    bench.run(&["oci", "diff", "arm", "amd"]).good();
    let ran = bench.run(&["oci", "diff", "--exit-code", "--format=json", "arm", "amd"]);
    assert_eq!((ran.code(), ran.stderr()), (1, String::new()));
    let found: Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert_eq!(
        found["settings"],
        serde_json::json!([{"field": "platform", "a": "linux/arm64", "b": "linux/amd64"}])
    );
    assert_eq!(
        found["files"],
        serde_json::json!([{"path": "/etc/name", "change": "changed", "what": ["content"]}])
    );
    assert_eq!(found["layers"]["both"].as_array().unwrap().len(), 1);
    refused(
        &bench,
        &["diff", "both-latest-oci", "arm"],
        &["--arch", "linux/arm64", "linux/amd64"],
    );
    refused(
        &bench,
        &["diff", "--arch=riscv64", "arm", "amd"],
        &["`arm`", "linux/riscv64"],
    );
}

#[test]
fn archives_are_as_good_as_directories() {
    let bench = bench();
    bench
        .run(&[
            "oci",
            "build",
            "-q",
            "--tar",
            "--arch=arm64",
            "--rootfs=root",
            "app",
        ])
        .good();
    let (directory, archive) = ("app-latest-oci", "app-latest-oci.tar");
    let of = |path: &str, word: &str| bench.run(&["oci", word, "--format=json", path]).good().stdout();
    for word in ["list", "inspect"] {
        assert_eq!(of(directory, word), of(archive, word));
    }
    assert_eq!(
        of(directory, "verify"),
        of(archive, "verify").replace(archive, directory)
    );
    bench.run(&["oci", "index", "-q", "both", archive, "amd"]).good();
    bench
        .run(&[
            "oci",
            "diff",
            "--exit-code",
            "--arch=arm64",
            "both-latest-oci",
            archive,
        ])
        .good();
    // A root filesystem is an image, but no layout.
    refused(
        &bench,
        &["verify", "app-latest-oci-nothing.tar"],
        &["app-latest-oci-nothing.tar"],
    );
}

/// The names of all fields in a JSON value.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        Value::Object(object) => object.iter().for_each(|(name, item)| {
            found.insert(name.clone());
            fields(item, found);
        }),
        _ => {}
    }
}

#[test]
fn the_description_of_the_json_has_every_field_and_no_other() {
    let bench = bench();
    fs::remove_file(bench.path("amd/oci-layout")).unwrap();
    let page = include_str!("../../../../docs/formats/oci-json.md");
    for (command, words) in [
        ("list", &["arm"][..]),
        ("inspect", &["arm"]),
        ("layers", &["arm", "amd"]),
        ("diff", &["arm", "amd"]),
        ("verify", &["arm", "amd"]),
    ] {
        let ran = bench.run(&[&["oci", command, "--format=json"], words].concat());
        let mut real = BTreeSet::new();
        fields(&serde_json::from_str(&ran.stdout()).unwrap(), &mut real);
        let section = page.split(&format!("\n## `{command}`\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let quoted = |text: &str| -> BTreeSet<String> {
            text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let all = quoted(section);
        for field in &real {
            assert!(all.contains(field), "nothing about `{field}` of {command}");
        }
        let first_cells = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        for field in first_cells.flat_map(|cell| quoted(&format!("`{cell}"))) {
            assert!(real.contains(&field), "`{field}` of {command} is not there");
        }
    }
}
