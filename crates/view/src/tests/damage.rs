//! Every kind of damage is found, in the right place, and nothing else.

use vcontainer_image::{Digest, INDEX_DIGEST, OCI_INDEX};

use super::*;

/// Damages a built image of two layers and gives what is found, a line each.
fn found(damage: impl FnOnce(&Path, &Image)) -> Vec<String> {
    let bench = Bench::new();
    let image = bench.build(
        "x",
        "arm64",
        None,
        &["e:directories:/etc", "u:directories:/usr"],
        &Settings::default(),
    );
    damage(&bench.path("x"), &image);
    let found = bench.verify("x");
    assert_eq!(
        found.findings.iter().all(|finding| finding.image.is_none()),
        found.images.iter().all(|image| image.ok)
    );
    found
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.what, finding.fault))
        .collect()
}

fn blob(layout: &Path, digest: Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Puts another document in place of a blob, and other digests and sizes into those that lead to it.
fn replace(
    layout: &Path,
    image: &Image,
    config: impl FnOnce(String) -> String,
    manifest: impl FnOnce(String) -> String,
) {
    let put = |text: &str| {
        let digest = Digest::of(text.as_bytes());
        fs::write(blob(layout, digest), text).unwrap();
        (digest.to_string(), format!("\"size\":{}", text.len()))
    };
    let old = |document: &vcontainer_image::Document| {
        (
            document.digest.to_string(),
            format!("\"size\":{}", document.bytes.len()),
        )
    };
    let swap = |text: String, old: (String, String), new: (String, String)| {
        text.replace(
            &format!("\"{}\",{}", old.0, old.1),
            &format!("\"{}\",{}", new.0, new.1),
        )
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let new_config = put(&config(text(&image.config.bytes)));
    let new_manifest = put(&manifest(swap(
        text(&image.manifest.bytes),
        old(&image.config),
        new_config,
    )));
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    fs::write(
        layout.join("index.json"),
        swap(index, old(&image.manifest), new_manifest),
    )
    .unwrap();
}

fn same(text: String) -> String {
    text
}

#[test]
fn an_index_that_an_image_was_chosen_from_is_looked_at() {
    let bench = Bench::new();
    let image = bench.build("x", "arm64", None, &[], &Settings::default());
    let layout = bench.path("x");
    let named = |digest: Digest, size| {
        format!("{{\"mediaType\":\"{OCI_INDEX}\",\"digest\":\"{digest}\",\"size\":{size}}}")
    };
    let index_of = |entry: String| format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]}}");
    let lost = named(Digest::of(b"lost"), 4);
    let below = index_of(lost);
    let outer = index_of(named(Digest::of(below.as_bytes()), below.len()));
    let digest = Digest::of(outer.as_bytes());
    let entries = fs::read_to_string(layout.join("index.json")).unwrap();
    let noted = format!("\"annotations\":{{\"{INDEX_DIGEST}\":\"{digest}\",");
    fs::write(
        layout.join("index.json"),
        entries.replace("\"annotations\":{", &noted),
    )
    .unwrap();
    let verified = bench.verify("x");
    assert_eq!(verified.findings, []);
    assert!(verified.notes[0].contains("is not there"), "{:?}", verified.notes);
    fs::write(blob(&layout, Digest::of(below.as_bytes())), &below).unwrap();
    fs::write(blob(&layout, digest), &outer).unwrap();
    let verified = bench.verify("x");
    assert_eq!((verified.findings, verified.notes), (vec![], vec![]));
    fs::write(blob(&layout, digest), "{}").unwrap();
    assert!(bench.verify("x").findings[0].what.contains("index"));
    // It is no fault of the image.
    assert_eq!(bench.verify("x").images[0].digest, image.manifest.digest);
    assert!(bench.verify("x").images[0].ok);
}

#[test]
fn nothing_is_found_in_what_is_only_written_anew() {
    let lines = found(|layout, image| replace(layout, image, |text| text + " ", |text| text + "\n"));
    assert_eq!(lines, [""; 0]);
}

#[test]
fn missing_and_changed_blobs() {
    for (number, digest) in [(0, 0), (1, 1), (2, 2), (3, 3)].into_iter() {
        let pick = |image: &Image| {
            [
                image.manifest.digest,
                image.config.digest,
                image.layers[0].digest,
                image.layers[1].digest,
            ][digest]
        };
        let names = ["manifest ", "configuration ", "layer 1 of 2 ", "layer 2 of 2 "];
        let lines = found(|layout, image| fs::remove_file(blob(layout, pick(image))).unwrap());
        assert!(
            lines.len() == 1 && lines[0].starts_with(names[number]) && lines[0].ends_with("it is missing"),
            "{lines:?}"
        );
        let lines = found(|layout, image| {
            let path = blob(layout, pick(image));
            let mut bytes = fs::read(&path).unwrap();
            bytes[30] ^= 1;
            fs::write(path, bytes).unwrap();
        });
        assert!(
            lines.len() == 1 && lines[0].starts_with(names[number]) && lines[0].ends_with("it is damaged"),
            "{lines:?}"
        );
        let lines = found(|layout, image| fs::write(blob(layout, pick(image)), "short").unwrap());
        assert!(
            lines.len() == 1 && lines[0].contains("it has 5 bytes, and what refers to it says"),
            "{lines:?}"
        );
    }
}

#[test]
fn documents_that_contradict_themselves() {
    let lines = found(|layout, image| {
        let (first, second) = (
            image.layers[0].diff_id.0.to_string(),
            image.layers[1].diff_id.0.to_string(),
        );
        replace(
            layout,
            image,
            |text| {
                text.replace(&first, "sha256:x")
                    .replace(&second, &first)
                    .replace("sha256:x", &second)
            },
            same,
        );
    });
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("uncompressed it is sha256:")),
        "{lines:?}"
    );
    let lines = found(|layout, image| {
        let second = format!(",\"{}\"", image.layers[1].diff_id.0);
        replace(layout, image, |text| text.replace(&second, ""), same);
    });
    assert_eq!(
        lines,
        ["configuration: it has 1 diff IDs, and the manifest has 2 layers"]
    );
    let lines = found(|layout, image| replace(layout, image, |text| text.replace("arm64", "riscv64"), same));
    assert_eq!(
        lines,
        ["platform: its index says that it is for linux/arm64, and its configuration says linux/riscv64"]
    );
    let lines = found(|layout, image| replace(layout, image, |_| "[]".into(), same));
    assert!(
        lines.len() == 1 && lines[0].starts_with("configuration sha256:"),
        "{lines:?}"
    );
    let lines = found(|layout, image| replace(layout, image, same, |_| "{".into()));
    assert!(
        lines.len() == 1 && lines[0].starts_with("manifest sha256:"),
        "{lines:?}"
    );
    let lines =
        found(|layout, image| replace(layout, image, same, |text| text.replace("tar+gzip", "tar+rot13")));
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("tar+rot13"), "{lines:?}");
}

#[test]
fn the_files_beside_the_blobs() {
    let lines = found(|layout, _| fs::remove_file(layout.join("oci-layout")).unwrap());
    assert_eq!(lines, ["oci-layout: it is missing"]);
    let lines =
        found(|layout, _| fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap());
    assert_eq!(
        lines,
        ["oci-layout: its version is `2.0.0`, and 1.0.0 is the only one"]
    );
    let lines = found(|layout, _| fs::write(layout.join("index.json"), "{}x").unwrap());
    assert!(
        lines.len() == 1 && lines[0].starts_with("index.json: "),
        "{lines:?}"
    );
    let lines = found(|layout, _| {
        fs::write(
            layout.join("index.json"),
            "{\"schemaVersion\":2,\"manifests\":[]}",
        )
        .unwrap()
    });
    assert_eq!(lines, ["index.json: it lists no image"]);
}

#[test]
fn what_nothing_refers_to_is_a_note() {
    let bench = Bench::new();
    bench.build("x", "arm64", None, &[], &Settings::default());
    bench.write("x/blobs/sha256/who\u{1b}knows", "");
    let spare = Digest::of(b"spare");
    bench.write(&format!("x/blobs/sha256/{}", spare.hex()), "spare");
    let found = bench.verify("x");
    assert_eq!(found.findings, []);
    assert_eq!(
        found.notes,
        [
            format!("blob {spare}: nothing refers to it"),
            "`blobs/sha256/who\\x1bknows` is no blob".into()
        ]
    );
    assert!(found.images[0].ok);
}

#[test]
fn what_is_no_layout_is_an_error() {
    let bench = Bench::new();
    for name in ["root", "nothing"] {
        let error = verify(&bench.path(name), Limits::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
    }
    bench.build("x", "arm64", None, &[], &Settings::default());
    rename(&bench.path("x"), "index.json", "manifest.json");
    assert!(verify(&bench.path("x"), Limits::default()).is_err());
}
