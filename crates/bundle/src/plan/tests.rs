use std::fs;
use std::path::Path;

use vcontainer_image::{Digest, Platform};
use vcontainer_store::Rootfs;

use super::*;
use crate::config::BundleFile;
use crate::target::Trust;

/// A directory with layouts, in which plans are made.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(layouts: &[&str]) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        for name in layouts {
            layout(&bench.0.path().join(name), name, "arm64");
        }
        bench
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn options(&self) -> PlanOptions {
        PlanOptions {
            places: Places {
                directories: vec![self.0.path().to_owned()],
                given: BTreeMap::new(),
            },
            open: OpenOptions::new(Platform::for_machine("aarch64").unwrap()),
            docker_store: docker::Store::Overlay2,
        }
    }

    fn plan(&self, entries: &str) -> Result<Plan, PlanError> {
        let target = Target::read(None, Trust::default()).unwrap();
        Plan::new(&requests(entries), &target, &self.options())
    }

    fn configured(&self, text: &str) -> Result<Plan, PlanError> {
        let file = BundleFile::parse(text, &self.0.path().join("bundle.toml"), Runtime::Docker).unwrap();
        let target = Target::read(None, Trust::default()).unwrap();
        Plan::new(&file.requests, &target, &self.options())
    }

    fn error(&self, entries: &str) -> String {
        self.plan(entries).unwrap_err().to_string()
    }
}

fn requests(entries: &str) -> Vec<Request> {
    entries
        .split_whitespace()
        .map(|text| Request::from_entry(text, text.parse().unwrap(), Runtime::Docker))
        .collect()
}

/// An OCI layout of one image with one layer without entries; `seed` makes its configuration differ from others.
fn layout(directory: &Path, seed: &str, architecture: &str) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        format!("\"digest\": \"{digest}\", \"size\": {}", bytes.len())
    };
    let tar = [0; 1024];
    let layer = put(&tar);
    let config = format!(
        "{{\"architecture\": \"{architecture}\", \"os\": \"linux\", \"author\": \"{seed}\", \
         \"rootfs\": {{\"type\": \"layers\", \"diff_ids\": [\"{}\"]}}}}",
        Digest::of(&tar)
    );
    let config = put(config.as_bytes());
    let manifest = format!(
        "{{\"schemaVersion\": 2, \"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \
         \"config\": {{\"mediaType\": \"application/vnd.oci.image.config.v1+json\", {config}}}, \
         \"layers\": [{{\"mediaType\": \"application/vnd.oci.image.layer.v1.tar\", {layer}}}]}}"
    );
    let manifest = put(manifest.as_bytes());
    fs::write(
        directory.join("oci-layout"),
        "{\"imageLayoutVersion\": \"1.0.0\"}",
    )
    .unwrap();
    let index = format!(
        "{{\"schemaVersion\": 2, \"manifests\": [{{\"mediaType\": \
         \"application/vnd.oci.image.manifest.v1+json\", {manifest}}}]}}"
    );
    fs::write(directory.join("index.json"), index).unwrap();
}

fn names(plan: &Plan) -> Vec<String> {
    let all = plan.stores.iter().flat_map(|store| &store.images);
    all.map(|image| image.name.to_string()).collect()
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.services
        .iter()
        .map(|service| service.path.as_str())
        .collect()
}

#[test]
fn import_and_service_agree_on_the_name() {
    let bench = Bench::new(&["myapp-2-latest-oci", "myapp-1.0-oci"]);
    let plan = bench
        .plan("myapp-2:docker:autostart myapp-2:podman:on-failure myapp-1.0-oci:podman:external")
        .unwrap();
    assert_eq!(
        names(&plan),
        [
            "docker.io/library/myapp-2:latest",
            "localhost/myapp-2:latest",
            "localhost/myapp:1.0"
        ]
    );
    assert_eq!(
        paths(&plan),
        [
            "/etc/containers/systemd/myapp-2.container",
            "/usr/lib/systemd/system/container-myapp-2.service"
        ]
    );
    let [quadlet, unit] = &plan.services[..] else {
        panic!()
    };
    let text = |service: &ServiceFile| String::from_utf8(service.content.clone()).unwrap();
    assert!(text(unit).contains(" myapp-2:latest\n") && text(unit).contains("Restart=always\n"));
    assert!(text(quadlet).contains("Image=localhost/myapp-2:latest\n"));
    assert!(text(quadlet).contains("Restart=on-failure\n"));
    let (link, to) = unit.enabled_by.clone().unwrap();
    assert_eq!(
        link.to_string(),
        "/etc/systemd/system/multi-user.target.wants/container-myapp-2.service"
    );
    assert_eq!(to, unit.path);
    // The image is opened once for both engines.
    assert_eq!(plan.images.len(), 2);
}

#[test]
fn remote_images_keep_their_full_names_and_get_a_tag() {
    let bench = Bench::new(&["copy"]);
    let mut options = bench.options();
    for reference in ["quay.io/a/bb", "docker.io/library/redis:7"] {
        let path = bench.0.path().join("copy");
        options
            .places
            .given
            .insert(Source::parse(reference).unwrap(), path);
    }
    let target = Target::read(None, Trust::default()).unwrap();
    let requests = requests("quay.io/a/bb:podman:always docker.io/library/redis:7:docker:no");
    let plan = Plan::new(&requests, &target, &options).unwrap();
    let images: Vec<&str> = plan
        .services
        .iter()
        .map(|service| service.image.as_str())
        .collect();
    assert_eq!(images, ["quay.io/a/bb:latest", "redis:7"]);
    assert_eq!(
        paths(&plan),
        [
            "/etc/containers/systemd/bb.container",
            "/usr/lib/systemd/system/container-redis.service"
        ]
    );
}

#[test]
fn a_pinned_reference_must_be_what_was_found() {
    let bench = Bench::new(&["copy"]);
    let target = Target::read(None, Trust::default()).unwrap();
    let found = vcontainer_image::open(&bench.0.path().join("copy"), &bench.options().open).unwrap();
    for (digest, good) in [(found.manifest.digest, true), (Digest::of(b"other"), false)] {
        let reference = format!("docker.io/library/redis@{digest}");
        let mut options = bench.options();
        let path = bench.0.path().join("copy");
        options
            .places
            .given
            .insert(Source::parse(&reference).unwrap(), path);
        let plan = Plan::new(
            &requests(&format!("{reference}:docker:always")),
            &target,
            &options,
        );
        assert_eq!(plan.is_ok(), good);
        match plan {
            Ok(plan) => assert_eq!(plan.services[0].image, format!("redis@{digest}")),
            Err(error) => assert!(
                error
                    .to_string()
                    .contains("is not the image that the reference pins"),
                "{error}"
            ),
        }
    }
}

#[test]
fn duplicates_are_fine_and_contradictions_are_not() {
    let bench = Bench::new(&[
        "a-latest-oci",
        "aa-latest-oci",
        "aa-1.0-oci",
        "aa-2.0-oci",
        "A.A-oci",
    ]);
    let plan = bench
        .plan("aa:docker aa:docker:autostart aa:docker:always aa-latest-oci:docker:unless-stopped")
        .unwrap();
    assert_eq!((names(&plan).len(), plan.services.len()), (1, 1));
    // Two images of one name in turn are fine as long as only one of them is started.
    bench.plan("aa-1.0-oci:docker:no aa-2.0-oci:docker").unwrap();
    for (entries, says) in [
        (
            "aa:docker:always aa:docker:on-failure",
            vec![
                "entry `aa:docker:always` and entry `aa:docker:on-failure`",
                "`always` and `on-failure`",
            ],
        ),
        (
            "aa-1.0-oci:podman:always aa-2.0-oci:podman:always",
            vec![
                "both start a container `aa`",
                "`localhost/aa:1.0`",
                "`localhost/aa:2.0`",
            ],
        ),
        (
            "a:docker:always",
            vec!["`a` cannot be the name of a container", "container-name"],
        ),
        (
            "A.A-oci:docker",
            vec!["cannot be named `A.A:latest`", "bundle.toml"],
        ),
        (
            "missing:docker",
            vec!["entry `missing:docker`", "bitbake missing"],
        ),
    ] {
        let error = bench.error(entries);
        for part in says {
            assert!(error.contains(part), "{entries}: {error}");
        }
    }
    let one_name = "[[container]]\nsource = \"./aa-1.0-oci\"\nname = \"x:1\"\n\
                    [[container]]\nsource = \"./aa-2.0-oci\"\nname = \"docker.io/library/x:1\"\n";
    let error = bench.configured(one_name).unwrap_err().to_string();
    assert!(
        error.contains("container 1") && error.contains("container 2"),
        "{error}"
    );
    assert!(error.contains("`docker.io/library/x:1`"), "{error}");
    let options = "[[container]]\nsource = \"aa\"\npolicy = \"always\"\nports = [\"1:1\"]\n\
                   [[container]]\nsource = \"aa\"\npolicy = \"always\"\n";
    let error = bench.configured(options).unwrap_err().to_string();
    assert!(error.contains("different run options"), "{error}");
    assert!(matches!(bench.plan(""), Err(PlanError::Nothing)));
}

#[test]
fn an_image_for_another_architecture_is_refused() {
    let bench = Bench::new(&[]);
    layout(&bench.0.path().join("x-oci"), "x", "amd64");
    let error = bench.plan("x-oci:docker").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("linux/arm64") && source.contains("linux/amd64"),
        "{source}"
    );
}

#[test]
fn custom_files_replace_the_generated_service_with_or_without_a_policy() {
    let bench = Bench::new(&["myapp-latest-oci", "mydb-latest-oci"]);
    bench.write(
        "my.service",
        "[Service]\nRestart=unless-stopped\nExecStart=docker run other\n",
    );
    bench.write("my.container", "[Container]\nImage=mydb:latest\n");
    bench.write("my.txt", "");
    let table = |source: &str, runtime: &str, rest: &str| {
        format!("[[container]]\nsource = \"{source}\"\nruntime = \"{runtime}\"\n{rest}\n")
    };
    let plan = bench
        .configured(
            &(table("myapp", "docker", "service = \"my.service\"")
                + &table(
                    "mydb",
                    "podman",
                    "policy = \"always\"\nservice = \"my.container\"",
                )),
        )
        .unwrap();
    let [quadlet, unit] = &plan.services[..] else {
        panic!()
    };
    assert_eq!(
        quadlet.content,
        fs::read(bench.0.path().join("my.container")).unwrap()
    );
    assert_eq!(
        (quadlet.warnings.len(), unit.warnings.len()),
        (0, 2),
        "{:?}",
        unit.warnings
    );
    assert!(unit.enabled_by.is_some() && unit.path.ends_with("/container-myapp.service"));
    for (runtime, file, says) in [
        ("docker", "missing.service", "cannot read the service file"),
        ("docker", "my.container", "is a Quadlet, which only Podman has"),
        ("podman", "my.txt", "neither a .service nor a .container"),
    ] {
        let error = bench
            .configured(&table("myapp", runtime, &format!("service = \"{file}\"")))
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn service_options_and_given_images_must_be_used() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    let mut asked = requests("myapp:docker");
    let name = |text: &str| Source::parse(text).unwrap();
    set_services(&mut asked, &[(name("myapp"), "x.service".into())].into()).unwrap();
    assert_eq!(asked[0].service.as_deref(), Some(Path::new("x.service")));
    let error = set_services(&mut asked, &[(name("myap"), "x.service".into())].into()).unwrap_err();
    assert!(error.to_string().contains("--service names `myap`"), "{error}");
    let mut options = bench.options();
    options.places.given.insert(name("other"), "x".into());
    let target = Target::read(None, Trust::default()).unwrap();
    let error = Plan::new(&requests("myapp:docker"), &target, &options).unwrap_err();
    assert!(error.to_string().contains("--image names `other`"), "{error}");
}

#[test]
fn a_podman_without_quadlet_gets_a_unit_that_may_clash_with_dockers() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    for program in ["sbin/dockerd", "bin/docker", "bin/podman", "lib/systemd/systemd"] {
        bench.write(&format!("root/usr/{program}"), "#!/bin/sh");
    }
    let rootfs = Rootfs::open(&bench.0.path().join("root")).unwrap();
    let target = Target::read(Some(rootfs), Trust::default()).unwrap();
    let plan = Plan::new(&requests("myapp:podman:always"), &target, &bench.options()).unwrap();
    assert_eq!(paths(&plan), ["/lib/systemd/system/container-myapp.service"]);
    let both = requests("myapp:podman:always myapp:docker:always");
    let error = Plan::new(&both, &target, &bench.options())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("both have the unit `/lib/systemd/system/container-myapp.service`"),
        "{error}"
    );
}
