//! An image of this computer as the tar stream that an engine in the machine takes: for Docker an archive as
//! `docker load` reads it, for Podman an OCI layout. Documents go as they are, so that the image's ID (and in a layout
//! the manifest's digest) stay; layers go as they lie there, each verified on the way.

use std::collections::BTreeSet;
use std::io::{BufReader, Write};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use vcontainer_guest::Engine;
use vcontainer_image::{Digest, HashingReader, Image, LayerSource, Meta, TreePath};
use vcontainer_store::{Sink, TarCompression, TarSink};

const BUFFER: usize = 256 * 1024;

/// Writes `image` as `name` to `out`.
///
/// # Errors
/// A layer that cannot be read or is not what its digest says, or `out`.
pub fn write(image: &Image, name: &str, engine: Engine, out: &mut (dyn Write + Send)) -> Result<()> {
    let sink: Box<dyn Sink + '_> = Box::new(TarSink::new(out, TarCompression::None)?);
    let stream = Stream { sink };
    stream.sink.directory(&path("blobs/sha256")?, &meta(0o755))?;
    match engine {
        Engine::Docker => stream.docker(image, name),
        Engine::Podman => stream.layout(image, name),
    }?;
    let mut written = BTreeSet::new();
    for (number, layer) in image.layers.iter().enumerate() {
        if written.insert(layer.digest) {
            stream
                .layer(layer)
                .with_context(|| format!("cannot send layer {} of image `{}`", number + 1, image.origin))?;
        }
    }
    stream.sink.commit()?;
    Ok(())
}

struct Stream<'a> {
    sink: Box<dyn Sink + 'a>,
}

impl Stream<'_> {
    /// `manifest.json` of `docker save`: configuration, names, layers.
    fn docker(&self, image: &Image, name: &str) -> Result<()> {
        let layers: Vec<String> = image.layers.iter().map(|layer| blob(layer.digest)).collect();
        let list = json!([{
            "Config": blob(image.config.digest),
            "RepoTags": [name],
            "Layers": layers,
        }]);
        self.file("manifest.json", &serde_json::to_vec(&list)?)?;
        self.file(&blob(image.config.digest), &image.config.bytes)
    }

    /// An OCI layout of this image alone.
    fn layout(&self, image: &Image, name: &str) -> Result<()> {
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": image.manifest.media_type,
                "digest": image.manifest.digest.to_string(),
                "size": image.manifest.bytes.len(),
                "annotations": {"org.opencontainers.image.ref.name": name},
            }],
        });
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file("index.json", &serde_json::to_vec(&index)?)?;
        self.file(&blob(image.manifest.digest), &image.manifest.bytes)?;
        self.file(&blob(image.config.digest), &image.config.bytes)
    }

    fn layer(&self, layer: &LayerSource) -> Result<()> {
        let mut content = BufReader::with_capacity(BUFFER, HashingReader::new(layer.open()?));
        self.sink.stream(
            &path(&blob(layer.digest))?,
            &meta(0o644),
            layer.size,
            &mut content,
        )?;
        let (digest, _) = content.into_inner().finish();
        if digest != layer.digest {
            bail!(
                "its content is {digest} and not {}: it is damaged, copy or build the image again",
                layer.digest
            );
        }
        Ok(())
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(self.sink.file(&path(name)?, &meta(0o644), content)?)
    }
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn path(name: &str) -> Result<TreePath> {
    Ok(TreePath::clean(name.as_bytes())?)
}

fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use vcontainer_image::{OpenOptions, Platform};

    use super::*;

    /// A root filesystem tarball, which becomes an image of one layer.
    fn rootfs(folder: &Path) -> Image {
        let tarball = folder.join("rootfs.tar");
        let sink: Box<dyn Sink> = Box::new(TarSink::create(&tarball, TarCompression::None).unwrap());
        sink.directory(&path("etc").unwrap(), &meta(0o755)).unwrap();
        sink.file(&path("etc/hostname").unwrap(), &meta(0o644), b"guest\n")
            .unwrap();
        sink.commit().unwrap();
        open(&tarball).unwrap()
    }

    fn open(path: &Path) -> Result<Image> {
        let options = OpenOptions::new(Platform::for_machine("aarch64").unwrap());
        Ok(vcontainer_image::open(path, &options)?)
    }

    #[test]
    fn the_image_arrives_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let image = rootfs(folder.path());
        for engine in Engine::ALL {
            let file = folder.path().join(engine.to_string());
            write(&image, "myapp:1", engine, &mut fs::File::create(&file).unwrap()).unwrap();
            let read = open(&file).unwrap();
            assert_eq!(read.config.bytes, image.config.bytes);
            assert_eq!(read.layers[0].digest, image.layers[0].digest);
            let names: Vec<String> = read.names.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["docker.io/library/myapp:1"]);
            if engine == Engine::Podman {
                assert_eq!(read.manifest.digest, image.manifest.digest);
            }
        }
    }

    #[test]
    fn a_damaged_layer_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let image = rootfs(folder.path());
        let tarball = folder.path().join("rootfs.tar");
        let mut bytes = fs::read(&tarball).unwrap();
        let at = bytes.windows(5).position(|bytes| bytes == b"guest").unwrap();
        bytes[at] = b'G';
        fs::write(&tarball, bytes).unwrap();
        let error = write(&image, "x:1", Engine::Docker, &mut std::io::sink()).unwrap_err();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
    }
}
