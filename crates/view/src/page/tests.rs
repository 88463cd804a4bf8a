//! The page as strict readers and hostile images see it.

use proptest::prelude::*;
use vcontainer_image::{DiffId, Digest};

use super::*;
use crate::layers::Stack;

fn layer(number: usize, size: u64, images: &[usize], created_by: &str) -> Layer {
    let digest = Digest::of(&number.to_le_bytes());
    Layer {
        digest,
        diff_id: DiffId(digest),
        size,
        unpacked: size * 3,
        objects: number * 10,
        created_by: created_by.into(),
        images: images.to_vec(),
    }
}

fn stack(name: &str, layers: &[usize]) -> Stack {
    Stack {
        name: name.into(),
        platform: "linux/arm64".into(),
        digest: Digest::of(name.as_bytes()),
        size: 1000,
        shared: 500,
        layers: layers.to_vec(),
    }
}

fn example(name: &str, created_by: &str) -> Layers {
    Layers {
        images: vec![stack(name, &[0, 1]), stack("b", &[0, 2]), stack("c", &[3, 0, 3])],
        layers: vec![
            layer(0, 600, &[0, 1, 2], created_by),
            layer(1, 1 << 20, &[0], ""),
            layer(2, 0, &[1], created_by),
            layer(3, 7, &[2], created_by),
        ],
        total: 3000,
        needed: 2000,
        saved: 1000,
    }
}

/// Reads a page as XML without entities of its own: tags that nest, attributes in quotes. Gives the names of its elements.
fn elements(page: &str) -> Result<Vec<String>, String> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("no doctype")?;
    let (mut open, mut all) = (Vec::new(), Vec::new());
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start])?;
        let end = rest[start..].find('>').ok_or("a tag without an end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let opened = open.pop().ok_or("an end too many")?;
            if opened != name {
                return Err(format!("</{name}> ends <{opened}>"));
            }
            continue;
        }
        let empty = tag.ends_with('/');
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("<{name}> is no element"));
        }
        while !attributes.is_empty() {
            let (key, value) = attributes
                .split_once("=\"")
                .ok_or("an attribute without a value")?;
            if !key
                .trim()
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
            {
                return Err(format!("attribute `{key}`"));
            }
            let (value, more) = value.split_once('"').ok_or("an attribute without an end")?;
            check_text(value)?;
            attributes = more;
        }
        all.push(name.to_owned());
        if !empty {
            open.push(name.to_owned());
        }
    }
    check_text(rest)?;
    match open.is_empty() {
        true => Ok(all),
        false => Err(format!("without an end: {open:?}")),
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\n') {
        return Err(format!("a {c:?}"));
    }
    let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    match text
        .split('&')
        .skip(1)
        .all(|rest| known.iter().any(|name| rest.starts_with(name)))
    {
        true => Ok(()),
        false => Err("an unknown entity".into()),
    }
}

#[test]
fn every_layer_is_in_the_picture_and_in_the_table() {
    let layers = example("a", "vcontainer oci build: root filesystem");
    let page = page(&layers);
    let elements = elements(&page).unwrap();
    let count = |wanted: &str| elements.iter().filter(|name| *name == wanted).count();
    assert_eq!(count("figure"), 3);
    // Three images with two layers each; the one that is there twice is drawn once.
    assert_eq!(count("a"), 6);
    for (number, layer) in layers.layers.iter().enumerate() {
        let name = format!("layer-{}", number + 1);
        assert!(page.contains(&format!("id=\"{name}\"")) && page.contains(&format!("href=\"#{name}\"")));
        assert_eq!(page.matches(&layer.digest.to_string()).count(), 2);
    }
    // A shared layer looks the same and stands in the same place everywhere.
    let boxes: Vec<&str> = page
        .split("<a ")
        .skip(1)
        .filter(|rest| rest.starts_with("href=\"#layer-1\""))
        .filter_map(|rest| rest.split('>').next())
        .collect();
    assert_eq!(boxes.len(), 3);
    assert!(
        boxes
            .iter()
            .all(|found| found == &boxes[0] && found.contains(" shared\" style=\"--hue:"))
    );
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = page(&example("a", "made"));
    for outside in [
        "http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<img",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("href=").count(), page.matches("href=\"#").count());
}

#[test]
fn what_images_say_is_text() {
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'/><style>*{display:none}</style>",
        "&lt;b&gt; &copy; ]]> <!-- -->",
        "\0\x1b[31m\u{202e}gnp.exe\u{ffff}",
    ] {
        let plain = elements(&page(&example("a", "made"))).unwrap();
        let found = page(&example(hostile, hostile));
        assert_eq!(elements(&found).unwrap(), plain, "{hostile}");
        assert!(!found.contains('\u{202e}'));
        assert!(found.contains(&escape(hostile)));
    }
}

#[test]
fn sizes_are_for_people() {
    let sizes = [0, 1023, 1024, 1536, 10 << 20, 100 << 20, u64::MAX].map(bytes_text);
    assert_eq!(
        sizes,
        [
            "0 B",
            "1023 B",
            "1.00 KiB",
            "1.50 KiB",
            "10.00 MiB",
            "100.00 MiB",
            "16384.00 PiB"
        ]
    );
}

#[test]
fn images_have_letters() {
    assert_eq!([0, 25, 26, 701, 702].map(letters), ["A", "Z", "AA", "ZZ", "AAA"]);
}

proptest! {
    /// Any images: nothing overlaps, what is shared stands in one place, and above what lies below it where orders agree.
    #[test]
    fn layers_of_an_image_never_overlap(stacks in prop::collection::vec(prop::collection::vec(0usize..8, 0..6), 1..5), sizes in prop::collection::vec(0u64..1_000_000, 8)) {
        let mut layers = Layers {
            images: stacks.iter().map(|layers| stack("x", layers)).collect(),
            layers: Vec::new(),
            total: 0,
            needed: 0,
            saved: 0,
        };
        for (number, size) in sizes.iter().enumerate() {
            let images: Vec<usize> = (0..stacks.len()).filter(|image| stacks[*image].contains(&number)).collect();
            layers.layers.push(layer(number, *size, &images, ""));
        }
        let (places, height) = places(&layers);
        for stack in &stacks {
            let mut boxes: Vec<(u64, u64)> = stack.iter().map(|number| (places[*number].bottom, places[*number].height)).collect();
            boxes.sort_unstable();
            boxes.dedup();
            let mut distinct = stack.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(boxes.len(), distinct.len());
            let mut top = 0;
            for (bottom, high) in boxes {
                prop_assert!(bottom >= top && high > 0);
                top = bottom + high;
            }
            prop_assert!(top <= height);
        }
        prop_assert!(elements(&page(&layers)).is_ok());
    }
}
