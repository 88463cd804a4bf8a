use crate::fixture::Bench;

#[test]
fn an_image_is_listed_as_table_and_as_json() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    let table = bench.run(&["inspect", "deploy/myapp-latest-oci"]).good().stdout();
    assert!(
        table.contains("linux/arm64") && table.contains("1 image, 2 layers"),
        "{table}"
    );
    let json = bench
        .run(&["inspect", "--format", "json", "deploy/myapp-latest-oci"])
        .good()
        .stdout();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["kind"], "image");
    assert_eq!(json[0]["images"][0]["platform"], "linux/arm64");
    assert_eq!(json[0]["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn the_stores_of_a_bundled_root_filesystem_are_listed_with_what_is_shared() {
    let bench = Bench::new(&["myapp-latest-oci", "mydb-latest-oci"]);
    let entries = ["myapp:docker", "mydb:docker", "mydb:podman"];
    let tar = bench
        .run(
            &[
                &["bundle", "--images=deploy", "--arch=aarch64", "--tar=-", "-q"][..],
                &entries,
            ]
            .concat(),
        )
        .good();
    bench.write("x.tar", tar.stdout_bytes());
    let made = std::process::Command::new("tar")
        .args(["-x", "--no-same-owner", "--exclude=*/diff/*", "-f"])
        .arg(bench.path("x.tar"))
        .arg("-C")
        .arg(bench.path("root"))
        .status();
    assert!(made.unwrap().success());
    let json = bench.run(&["inspect", "--format=json", "root"]).good().stdout();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let kinds: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|store| store["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["docker-overlay2", "podman-overlay"]);
    let docker = &json[0];
    assert_eq!(docker["images"][0]["names"][0], "myapp:latest");
    // Three layers, of which the base belongs to both images.
    assert_eq!(docker["layers"].as_array().unwrap().len(), 3);
    assert_eq!(docker["images"][0]["shared"], 4);
    let table = bench.run(&["inspect", "root/var/lib/docker"]).good().stdout();
    assert!(
        table.contains("myapp:latest") && table.contains("2 images, 3 layers"),
        "{table}"
    );
}

/// The names of all fields in a JSON value.
fn fields(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        serde_json::Value::Object(object) => object.iter().for_each(|(name, item)| {
            found.insert(name.clone());
            fields(item, found);
        }),
        _ => {}
    }
}

#[test]
fn the_description_of_the_json_has_every_field_and_no_other() {
    let page = include_str!("../../../../docs/formats/inspect-json.md");
    let example = page
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut described = std::collections::BTreeSet::new();
    fields(&serde_json::from_str(example).unwrap(), &mut described);
    let bench = Bench::new(&["myapp-latest-oci"]);
    let json = bench
        .run(&["inspect", "--format=json", "deploy/myapp-latest-oci"])
        .good()
        .stdout();
    let mut real = std::collections::BTreeSet::new();
    fields(&serde_json::from_str(&json).unwrap(), &mut real);
    assert_eq!(described, real);
    for field in real
        .iter()
        .filter(|field| !["images", "layers"].contains(&field.as_str()))
    {
        assert!(page.contains(&format!("| `{field}` |")), "nothing about {field}");
    }
}

#[test]
fn what_is_no_store_is_an_error() {
    let bench = Bench::new(&[]);
    for path in ["root", "nowhere"] {
        let ran = bench.run(&["inspect", path]);
        assert_eq!(ran.code(), 1);
        assert!(ran.stderr().contains(path), "{}", ran.stderr());
    }
}
