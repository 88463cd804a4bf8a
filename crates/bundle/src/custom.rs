//! Service files of the user's own: what kind they are, and what in them will not work on the target.
//!
//! They are copied unchanged; what is found here are warnings.

use std::path::Path;

use vcontainer_image::Reference;

use crate::grammar::Runtime;
use crate::systemd_text::{last_value, split_words, values};

/// The long options of `docker run` and `podman run` that take no value.
const SWITCHES: [&str; 18] = [
    "--detach",
    "--disable-content-trust",
    "--env-host",
    "--help",
    "--http-proxy",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--no-hosts",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--replace",
    "--rm",
    "--sig-proxy",
    "--tty",
];

/// What kind of file a custom service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A systemd service.
    Service,
    /// A Quadlet `.container`.
    Quadlet,
}

/// The kind of the file at `path`, by its name.
///
/// # Errors
/// A sentence, when this engine has no use for such a file.
pub fn kind(path: &Path, runtime: Runtime) -> Result<Kind, String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match (ending, runtime) {
        (Some("service"), _) => Ok(Kind::Service),
        (Some("container"), Runtime::Podman) => Ok(Kind::Quadlet),
        (Some("container"), Runtime::Docker) => Err(format!(
            "the service file `{}` is a Quadlet, which only Podman has; for Docker give a .service file",
            path.display()
        )),
        _ => Err(format!(
            "the service file `{}` is neither a .service{}",
            path.display(),
            match runtime {
                Runtime::Docker => "; that is what Docker containers have",
                Runtime::Podman => " nor a .container (Quadlet)",
            }
        )),
    }
}

/// What in the text of a custom service will not do what it seems to, one sentence each. `bundled` are the images of
/// this engine.
#[must_use]
pub fn warnings(text: &str, kind: Kind, runtime: Runtime, bundled: &[Reference]) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(restart) = last_value(text, "Service", "Restart")
        && restart == "unless-stopped"
    {
        found.push(
            "`Restart=unless-stopped` is no value of systemd, which ignores the line and never restarts the container; \
             write Restart=always"
                .to_owned(),
        );
    }
    let images: Vec<String> = match kind {
        Kind::Quadlet => last_value(text, "Container", "Image").into_iter().collect(),
        // A command may be given to a shell as one word.
        Kind::Service => values(text, "Service", "ExecStart")
            .iter()
            .filter_map(|command| {
                image_of_run(split_words(command).iter().flat_map(|word| split_words(word)))
            })
            .collect(),
    };
    if !images.iter().any(|image| names_one_of(image, runtime, bundled)) {
        let what = match (kind, images.first()) {
            (Kind::Quadlet, Some(image)) => format!("its Image=`{image}` is not bundled"),
            (Kind::Quadlet, None) => "it has no Image=".to_owned(),
            (Kind::Service, Some(image)) => format!("it runs the image `{image}`, which is not bundled"),
            (Kind::Service, None) => "no ExecStart= in it runs an image that is bundled".to_owned(),
        };
        let bundled: Vec<String> = bundled
            .iter()
            .map(|image| format!("`{}`", engine_name(image, runtime)))
            .collect();
        found.push(format!(
            "{what} for {}, so that the target would have to pull it (bundled: {})",
            runtime.engine(),
            bundled.join(", ")
        ));
    }
    found
}

/// The image in a command `docker run …` or `podman run …`: the first word after `run` that is neither an option nor
/// the value of one.
fn image_of_run(words: impl Iterator<Item = String>) -> Option<String> {
    let mut words = words.skip_while(|word| word != "run").skip(1);
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            return Some(word);
        }
        let alone = if word.starts_with("--") {
            word.contains('=') || SWITCHES.contains(&word.as_str())
        } else {
            // `-it` is switches, `-p` takes the next word, `-p80:80` has its value.
            word[1..].chars().all(|c| "ditPq".contains(c)) || word.len() > 2
        };
        if !alone {
            words.next();
        }
    }
    None
}

/// How an image is written for its engine: Docker leaves out the default registry, Podman wants the full name. A name
/// with a digest alone is `name@digest`; with a tag, the tag is enough, since it leads to the same image.
#[must_use]
pub fn engine_name(image: &Reference, runtime: Runtime) -> String {
    let name = match runtime {
        Runtime::Podman => image.canonical_name(),
        Runtime::Docker => image.familiar_name(),
    };
    match (image.tag(), image.digest()) {
        (None, Some(digest)) => format!("{name}@{digest}"),
        (tag, _) => format!("{name}:{}", tag.unwrap_or("latest")),
    }
}

/// Whether a word is one of these images, as this engine understands it: `mydb` finds `localhost/mydb:latest` in
/// Podman and `docker.io/library/mydb:latest` in Docker.
fn names_one_of(word: &str, runtime: Runtime, bundled: &[Reference]) -> bool {
    let mut readings = vec![Reference::parse(word)];
    if runtime == Runtime::Podman {
        readings.push(Reference::local_podman(word));
    }
    readings.into_iter().flatten().any(|named| {
        bundled.iter().any(|image| {
            image.canonical_name() == named.canonical_name()
                && match named.digest() {
                    Some(digest) => image.digest() == Some(digest),
                    None => image.tag().unwrap_or("latest") == named.tag().unwrap_or("latest"),
                }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "[Unit]\nRequires=docker.service\n[Service]\nRestart=RESTART\nExecStart=/usr/bin/docker run --rm \
                          --name myapp \\\n  -p 8080:80 \\\n  IMAGE\n[Install]\nWantedBy=multi-user.target\n";
    const QUADLET: &str = "[Container]\nImage=IMAGE\nContainerName=mydb\n[Service]\nRestart=RESTART\n";

    fn found(text: &str, image: &str, restart: &str, runtime: Runtime) -> Vec<String> {
        let kind = if runtime == Runtime::Docker {
            Kind::Service
        } else {
            Kind::Quadlet
        };
        let bundled = match runtime {
            Runtime::Docker => Reference::parse("myapp:latest"),
            Runtime::Podman => Reference::local_podman("mydb:1"),
        };
        let text = text.replace("IMAGE", image).replace("RESTART", restart);
        warnings(&text, kind, runtime, &[bundled.unwrap()])
    }

    #[test]
    fn files_that_run_a_bundled_image_are_fine() {
        for image in ["myapp", "myapp:latest", "docker.io/library/myapp:latest"] {
            assert_eq!(
                found(DOCKER, image, "always", Runtime::Docker),
                [""; 0],
                "{image}"
            );
        }
        for image in ["mydb:1", "localhost/mydb:1"] {
            assert_eq!(
                found(QUADLET, image, "on-failure", Runtime::Podman),
                [""; 0],
                "{image}"
            );
        }
        let shell = "[Service]\nExecStart=/bin/sh -c 'exec docker run myapp:latest'\n";
        assert_eq!(found(shell, "", "", Runtime::Docker), [""; 0]);
    }

    #[test]
    fn other_images_and_restart_words_that_systemd_lacks_are_reported() {
        let docker = found(DOCKER, "other:latest", "unless-stopped", Runtime::Docker);
        assert!(
            docker[0].contains("Restart=always") && docker[1].contains("`myapp:latest`"),
            "{docker:?}"
        );
        let tag = found(QUADLET, "mydb:2", "always", Runtime::Podman);
        assert!(
            tag[0].contains("Image=`mydb:2` is not bundled for Podman"),
            "{tag:?}"
        );
        assert!(tag[0].contains("`localhost/mydb:1`"), "{tag:?}");
    }

    #[test]
    fn the_kind_goes_by_the_name() {
        for (name, runtime, good) in [
            ("a.service", Runtime::Docker, true),
            ("a.service", Runtime::Podman, true),
            ("a.container", Runtime::Podman, true),
            ("a.container", Runtime::Docker, false),
            ("a.kube", Runtime::Podman, false),
            ("service", Runtime::Docker, false),
        ] {
            assert_eq!(kind(Path::new(name), runtime).is_ok(), good, "{name}");
        }
    }
}
