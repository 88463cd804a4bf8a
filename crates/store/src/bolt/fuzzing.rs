//! Databases from fuzzed bytes.

use super::{Bucket, MAGIC, META, META_CHECKED, PAGE_HEADER, VERSION, checksum};

const PAGE: usize = 512;

/// A file whose meta pages are right and whose other pages are `data`; with the first byte odd, each page has its
/// own number. Without that hardly any change would get past the checksum and the numbers. With bit 1, `data` is the
/// whole file.
pub(crate) fn file(data: &[u8]) -> Vec<u8> {
    let Some((mode, data)) = data.split_first() else {
        return Vec::new();
    };
    if mode & 2 != 0 {
        return data.to_vec();
    }
    let pages = 2 + data.len().div_ceil(PAGE) as u64;
    let mut file: Vec<u8> = (0..2).flat_map(|transaction| meta(transaction, pages)).collect();
    file.extend_from_slice(data);
    file.resize(file.len().next_multiple_of(PAGE), 0);
    if mode & 1 == 1 {
        for (number, page) in file.chunks_exact_mut(PAGE).enumerate().skip(2) {
            page[..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
    }
    file
}

fn meta(transaction: u64, pages: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE_HEADER];
    page[..8].copy_from_slice(&transaction.to_le_bytes());
    page[8..10].copy_from_slice(&META.to_le_bytes());
    for number in [MAGIC, VERSION, PAGE as u32, 0] {
        page.extend_from_slice(&number.to_le_bytes());
    }
    for number in [2, 0, 2, pages, transaction] {
        page.extend_from_slice(&u64::to_le_bytes(number));
    }
    let sum = checksum(&page[PAGE_HEADER..]);
    assert_eq!(page.len(), PAGE_HEADER + META_CHECKED);
    page.extend_from_slice(&sum.to_le_bytes());
    page.resize(PAGE, 0);
    page
}

/// A tree of containerd's own keys: each line of `data` is a path, `/` between buckets, with a value after `=`.
/// A sequence is given as `path#digits`.
pub(crate) fn tree(data: &[u8]) -> Bucket {
    let mut root = Bucket::default();
    for line in data.split(|byte| *byte == b'\n') {
        let (path, value) = match line.iter().position(|byte| *byte == b'=' || *byte == b'#') {
            Some(at) => (&line[..at], Some((line[at], &line[at + 1..]))),
            None => (line, None),
        };
        let mut names: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .take(12)
            .collect();
        let last = match value {
            Some((b'=', _)) => names.pop(),
            _ => None,
        };
        let Ok(bucket) = root.make(&names) else { continue };
        match (value, last) {
            (Some((b'=', value)), Some(name)) => bucket.put(name, value),
            (Some((_, digits)), None) => {
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                bucket.sequence = digits.parse().unwrap_or(0);
            }
            _ => {}
        }
    }
    root
}
