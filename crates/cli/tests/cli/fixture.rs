//! Small real images, small root filesystems, and the program run on them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vcontainer_image::Digest;

/// A folder with images in `deploy` and a root filesystem in `root`.
pub struct Bench(tempfile::TempDir);

impl Bench {
    /// A merged-usr arm64 root filesystem with systemd, Docker and Podman 5.4, and these images.
    pub fn new(layouts: &[&str]) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        for program in [
            "root/usr/sbin/dockerd",
            "root/usr/bin/docker",
            "root/usr/bin/podman",
            "root/usr/lib/systemd/systemd",
            "root/usr/lib/systemd/system-generators/podman-system-generator",
        ] {
            bench.write(program, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0");
        }
        symlink("usr/lib", bench.path("root/lib")).unwrap();
        bench.write(
            "root/var/lib/dpkg/status",
            b"Package: podman\nStatus: install ok installed\nVersion: 5.4.2+ds1-2\n",
        );
        for name in layouts {
            layout(&bench.path(&format!("deploy/{name}")), name, "arm64");
        }
        bench
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Runs the program in the folder, with nothing of the tester's environment that it looks at.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vcontainer"));
        Ran(clean(&mut command)
            .envs(environment.iter().copied())
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap())
    }

    /// Every path below the root filesystem, to see that nothing has changed.
    pub fn tree(&self) -> Vec<String> {
        let listing = Command::new("find")
            .arg(self.path("root"))
            .arg("-printf")
            .arg("%P %y %s %T@\n")
            .output();
        let mut lines: Vec<String> = String::from_utf8(listing.unwrap().stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

/// Takes from a command what the program would look at in the tester's environment.
pub fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("VCONTAINER_")) {
        command.env_remove(name);
    }
    command.env_remove("SOURCE_DATE_EPOCH")
}

/// What a run did.
pub struct Ran(Output);

impl Ran {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stdout_bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn good(self) -> Self {
        assert_eq!(self.code(), 0, "{}", self.stderr());
        self
    }
}

/// An OCI layout with an image of two layers: a base that all have, and one with a file of this name.
pub fn layout(directory: &Path, name: &str, architecture: &str) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        format!("\"digest\": \"{digest}\", \"size\": {}", bytes.len())
    };
    let layers = [layer("etc/base", "base"), layer("etc/name", name)];
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|tar| format!("\"{}\"", Digest::of(tar)))
        .collect();
    let descriptors: Vec<String> = layers
        .iter()
        .map(|tar| {
            format!(
                "{{\"mediaType\": \"application/vnd.oci.image.layer.v1.tar\", {}}}",
                put(tar)
            )
        })
        .collect();
    let config = put(format!(
        "{{\"architecture\": \"{architecture}\", \"os\": \"linux\", \"rootfs\": {{\"type\": \"layers\", \"diff_ids\": [{}]}}}}",
        diff_ids.join(", ")
    )
    .as_bytes());
    let manifest = put(format!(
        "{{\"schemaVersion\": 2, \"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \"config\": {{\"mediaType\": \
         \"application/vnd.oci.image.config.v1+json\", {config}}}, \"layers\": [{}]}}",
        descriptors.join(", ")
    )
    .as_bytes());
    fs::write(
        directory.join("oci-layout"),
        "{\"imageLayoutVersion\": \"1.0.0\"}",
    )
    .unwrap();
    fs::write(
        directory.join("index.json"),
        format!(
            "{{\"schemaVersion\": 2, \"manifests\": [{{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \
             {manifest}}}]}}"
        ),
    )
    .unwrap();
}

/// A layer with one file of root's, without its parent directory.
fn layer(path: &str, content: &str) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(content.as_bytes());
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}
