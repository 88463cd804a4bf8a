//! Archives from fuzzed bytes.

use vcontainer_image::Digest;

/// A tar archive from `data`: with the first byte odd, every block gets the checksum that it would have as a header.
/// Without that, hardly any change of a header would get past its checksum.
#[must_use]
pub fn tar(data: &[u8]) -> Vec<u8> {
    let Some((mode, bytes)) = data.split_first() else {
        return Vec::new();
    };
    let mut archive = bytes.to_vec();
    if mode & 1 == 1 {
        for block in archive.chunks_exact_mut(512).filter(|block| block[0] != 0) {
            checksum(block);
        }
    }
    archive
}

fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// Appends a regular file to an archive.
pub fn append(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    checksum(&mut block);
    archive.extend_from_slice(&block);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

/// An image archive from parts: `index.json`, `manifest.json`, then blobs. In each part `$N` stands for the digest of
/// the Nth part, `%N` for its hex digits and `#N` for its size, so that documents that refer to each other stay
/// consistent however they are changed. A part can only refer to later ones.
#[must_use]
pub fn image(parts: &[&[u8]]) -> Vec<u8> {
    let mut resolved: Vec<Vec<u8>> = vec![Vec::new(); parts.len()];
    for (at, part) in parts.iter().enumerate().rev() {
        resolved[at] = substitute(part, at, &resolved);
    }
    let mut archive = Vec::new();
    for (at, content) in resolved.iter().enumerate() {
        match at {
            0 | 1 if content.is_empty() => {}
            0 => {
                append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
                append(&mut archive, "index.json", content);
            }
            1 => append(&mut archive, "manifest.json", content),
            _ => append(
                &mut archive,
                &format!("blobs/sha256/{}", Digest::of(content).hex()),
                content,
            ),
        }
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn substitute(part: &[u8], at: usize, resolved: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::with_capacity(part.len());
    let mut rest = part;
    while let [first, tail @ ..] = rest {
        let number = tail.first().map(|digit| usize::from(digit.wrapping_sub(b'0')));
        let target = number
            .filter(|number| *number > at)
            .and_then(|number| resolved.get(number));
        match (first, target) {
            (b'$', Some(target)) => text.extend_from_slice(Digest::of(target).to_string().as_bytes()),
            (b'%', Some(target)) => text.extend_from_slice(Digest::of(target).hex().as_bytes()),
            (b'#', Some(target)) => text.extend_from_slice(target.len().to_string().as_bytes()),
            _ => {
                text.push(*first);
                rest = tail;
                continue;
            }
        }
        rest = &tail[1..];
    }
    text
}
