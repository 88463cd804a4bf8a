//! Reads a layer through, bounded: what digests and sizes it really has.

use std::io::{self, BufReader, Read};

use vcontainer_image::{Compression, DiffId, Digest, HashingReader, LayerItem, LayerReader, LayerSource};

use crate::error::{Error, LayerFault};

/// Bounds against hostile layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed stream of one layer.
    pub unpacked: u64,
    /// Objects of one layer.
    pub objects: usize,
}

impl Default for Limits {
    /// 16 GiB and two million objects.
    fn default() -> Self {
        Self {
            unpacked: 16 << 30,
            objects: 2_000_000,
        }
    }
}

/// What a layer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// The size of the uncompressed stream in bytes.
    pub unpacked: u64,
}

/// Reads a layer, which must be what its image says, and counts its objects.
///
/// # Errors
/// It is damaged, or beyond the limits.
pub fn measure(layer: &LayerSource, limits: Limits) -> Result<(Measured, usize), Error> {
    let read = || {
        let blob = layer
            .open()
            .map_err(|error| LayerFault::Open(error.to_string()))?;
        let (measured, objects) = through(blob, layer.compression, limits, |stream| {
            count(stream, limits.objects)
        })?;
        check(&measured, layer)?;
        Ok((measured, objects))
    };
    read().map_err(|source| Error::Layer {
        origin: layer.origin().into(),
        digest: layer.digest,
        source: Box::new(source),
    })
}

/// Whether a layer is what its image says.
pub(crate) fn check(found: &Measured, layer: &LayerSource) -> Result<(), LayerFault> {
    if found.digest != layer.digest {
        return Err(LayerFault::Digest { found: found.digest });
    }
    if found.diff_id != layer.diff_id {
        return Err(LayerFault::DiffId {
            found: found.diff_id.0,
            expected: layer.diff_id.0,
        });
    }
    Ok(())
}

/// Gives the uncompressed stream of a blob to `read`, then reads what that has left, and tells what all of it was.
pub(crate) fn through<T>(
    blob: impl Read + Send,
    compression: Compression,
    limits: Limits,
    read: impl FnOnce(&mut (dyn Read + Send)) -> Result<T, LayerFault>,
) -> Result<(Measured, T), LayerFault> {
    let mut blob = HashingReader::new(blob);
    let plain = compression.reader(&mut blob)?;
    let mut stream = HashingReader::new(Bounded {
        inner: plain,
        left: limits.unpacked,
    });
    let result = read(&mut stream)?;
    io::copy(&mut stream, &mut io::sink())?;
    let (diff_id, unpacked) = stream.finish();
    io::copy(&mut blob, &mut io::sink())?;
    let (digest, size) = blob.finish();
    let measured = Measured {
        digest,
        size,
        diff_id: DiffId(diff_id),
        unpacked,
    };
    Ok((measured, result))
}

/// The number of objects of a tar stream.
pub(crate) fn count(stream: &mut (dyn Read + Send), most: usize) -> Result<usize, LayerFault> {
    let mut reader = LayerReader::new(BufReader::with_capacity(1 << 16, stream));
    let mut objects = 0;
    while let Some(item) = reader.next_item()? {
        objects += usize::from(matches!(item, LayerItem::Entry(_)));
        if objects > most {
            return Err(LayerFault::Apply(format!(
                "it has more than {most} objects, which no real layer has"
            )));
        }
    }
    Ok(objects)
}

/// Fails where a stream goes on beyond a number of bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("uncompressed it is larger than any real layer"))?;
        Ok(count)
    }
}
