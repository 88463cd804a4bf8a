//! From the bytes of a bbolt file to a tree of buckets. The file is foreign: nothing in it is believed.

use super::{
    BRANCH, BUCKET_HEADER, Bucket, ELEMENT, IS_BUCKET, Item, LEAF, MAGIC, MAX_KEY, META, META_CHECKED,
    PAGE_HEADER, VERSION, checksum,
};

/// Page sizes that bbolt looks for a second meta page at (`getPageSizeFromSecondMeta`): machines have 4 to 64 KiB.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 9..=24;
/// How deep buckets and branch pages may lie in each other, all together. containerd's buckets are 8 deep, and a tree of
/// branch pages has three levels at a million records.
const MAX_DEPTH: usize = 64;

/// Why bytes are not a bbolt database that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Neither of the two meta pages is valid.
    #[error("it is not a bbolt database, or both of its meta pages are damaged")]
    NoMeta,
    /// Something in a page contradicts the format.
    #[error("page {page} of the database is damaged: {what}")]
    Damaged {
        /// Number of the page.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads the newest state of a database: that of the valid meta page with the higher transaction number.
///
/// Every page is visited at most once, and what the elements of a page hold is never more than the page, so neither time
/// nor memory can grow beyond the size of the file.
///
/// # Errors
/// Anything that contradicts the format.
pub fn read(file: &[u8]) -> Result<Bucket, ReadError> {
    let meta = newest_meta(file).ok_or(ReadError::NoMeta)?;
    let mut reader = Reader {
        file,
        page_size: meta.page_size,
        pages: meta.pages,
        seen: vec![false; usize::try_from(meta.pages).map_err(|_| ReadError::NoMeta)?],
    };
    let mut root = Bucket {
        sequence: meta.sequence,
        ..Bucket::default()
    };
    reader.tree(meta.root, &mut root, 0)?;
    Ok(root)
}

/// What is needed of a meta page.
struct Meta {
    page_size: u64,
    root: u64,
    sequence: u64,
    /// Number of pages of the file that are in use.
    pages: u64,
    transaction: u64,
}

fn newest_meta(file: &[u8]) -> Option<Meta> {
    let first = meta_at(file, 0, 0);
    let second = match &first {
        Some(meta) => meta_at(file, meta.page_size, 1),
        None => PAGE_SIZES
            .map(|bits| 1_u64 << bits)
            .find_map(|size| meta_at(file, size, 1).filter(|meta| meta.page_size == size)),
    };
    match (first, second) {
        (Some(first), Some(second)) if second.transaction > first.transaction => Some(second),
        (Some(first), _) => Some(first),
        (None, second) => second,
    }
}

fn meta_at(file: &[u8], offset: u64, page: u64) -> Option<Meta> {
    let offset = usize::try_from(offset).ok()?;
    let bytes = file.get(offset..offset.checked_add(PAGE_HEADER + META_CHECKED + 8)?)?;
    let (header, record) = bytes.split_at(PAGE_HEADER);
    let page_size = u64::from(u32_at(record, 8)?);
    let pages = u64_at(record, 40)?;
    let valid = u64_at(header, 0)? == page
        && u16_at(header, 8)? == META
        && u32_at(record, 0)? == MAGIC
        && u32_at(record, 4)? == VERSION
        && u64_at(record, META_CHECKED)? == checksum(record.get(..META_CHECKED)?)
        && page_size.is_power_of_two()
        && PAGE_SIZES.contains(&page_size.trailing_zeros())
        && pages.checked_mul(page_size)? <= file.len() as u64;
    valid.then_some(Meta {
        page_size,
        root: u64_at(record, 16)?,
        sequence: u64_at(record, 24)?,
        pages,
        transaction: u64_at(record, 48)?,
    })
}

struct Reader<'a> {
    file: &'a [u8],
    page_size: u64,
    pages: u64,
    /// Which pages have been visited: in a tree each page has one place.
    seen: Vec<bool>,
}

impl<'a> Reader<'a> {
    /// Adds what the tree of pages under `page` holds to `bucket`.
    fn tree(&mut self, page: u64, bucket: &mut Bucket, depth: usize) -> Result<(), ReadError> {
        let damaged = |what| ReadError::Damaged { page, what };
        if depth > MAX_DEPTH {
            return Err(damaged("buckets or branches lie too deep in each other"));
        }
        let bytes = self.page(page)?;
        match u16_at(bytes, 8) {
            Some(LEAF) => self.leaf(page, bytes, bucket, depth),
            Some(BRANCH) => {
                for element in Elements::of(page, bytes)? {
                    let child = u64_at(element.header, 8).ok_or(damaged("an element is cut off"))?;
                    let [position, size] = [u32_at(element.header, 0), u32_at(element.header, 4)];
                    element
                        .data(position, size, Some(0))
                        .ok_or(damaged("a key lies outside of the page"))?;
                    self.tree(child, bucket, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(damaged("it is neither a branch nor a leaf")),
        }
    }

    /// Adds the elements of a leaf page, which may also be one that lies inside a value, to `bucket`.
    fn leaf(
        &mut self,
        page: u64,
        bytes: &'a [u8],
        bucket: &mut Bucket,
        depth: usize,
    ) -> Result<(), ReadError> {
        let damaged = |what| ReadError::Damaged { page, what };
        let elements = Elements::of(page, bytes)?;
        let mut room = bytes.len();
        for element in elements {
            let [flags, position, key_size, value_size] = [0, 4, 8, 12].map(|at| u32_at(element.header, at));
            let (key, value) = element
                .data(position, key_size, value_size)
                .ok_or(damaged("a record lies outside of the page"))?;
            // Records that overlap could make a small file unfold into a large tree.
            room = room
                .checked_sub(ELEMENT + key.len() + value.len())
                .ok_or(damaged("its records overlap"))?;
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(damaged("a key has an impossible length"));
            }
            if bucket
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| last.as_slice() >= key)
            {
                return Err(damaged("its keys are not in order"));
            }
            let item = if flags == Some(IS_BUCKET) {
                Item::Bucket(self.bucket(page, value, depth + 1)?)
            } else {
                Item::Value(value.to_vec())
            };
            bucket.entries.insert(key.to_vec(), item);
        }
        Ok(())
    }

    /// The bucket that an element's value describes.
    fn bucket(&mut self, page: u64, value: &'a [u8], depth: usize) -> Result<Bucket, ReadError> {
        let damaged = |what| ReadError::Damaged { page, what };
        let (Some(root), Some(sequence)) = (u64_at(value, 0), u64_at(value, 8)) else {
            return Err(damaged("a bucket is cut off"));
        };
        let mut bucket = Bucket {
            sequence,
            ..Bucket::default()
        };
        if root != 0 {
            self.tree(root, &mut bucket, depth)?;
            return Ok(bucket);
        }
        if depth > MAX_DEPTH {
            return Err(damaged("buckets or branches lie too deep in each other"));
        }
        let inline = value.get(BUCKET_HEADER..).unwrap_or_default();
        if u16_at(inline, 8) != Some(LEAF) {
            return Err(damaged("an inline bucket is not a leaf"));
        }
        self.leaf(page, inline, &mut bucket, depth)?;
        Ok(bucket)
    }

    /// The bytes of a page with those that it goes on in.
    fn page(&mut self, page: u64) -> Result<&'a [u8], ReadError> {
        let damaged = |what| ReadError::Damaged { page, what };
        let outside = damaged("it lies outside of the file");
        if page < 2 || page >= self.pages {
            return Err(outside);
        }
        // Below `pages`, which times the page size is at most the file's length.
        let start = usize::try_from(page * self.page_size).map_err(|_| outside.clone())?;
        let header = self.file.get(start..start + PAGE_HEADER).ok_or(outside.clone())?;
        if u64_at(header, 0) != Some(page) {
            return Err(damaged("it says that it is another page"));
        }
        let last = page + u64::from(u32_at(header, 12).unwrap_or(0));
        if last >= self.pages {
            return Err(outside);
        }
        for number in page..=last {
            let seen = usize::try_from(number)
                .ok()
                .and_then(|index| self.seen.get_mut(index));
            if seen.is_none_or(|seen| std::mem::replace(seen, true)) {
                return Err(damaged("it is used in two places"));
            }
        }
        let end = usize::try_from((last + 1) * self.page_size).map_err(|_| outside.clone())?;
        self.file.get(start..end).ok_or(outside)
    }
}

/// The elements of a page, in order.
struct Elements<'a> {
    bytes: &'a [u8],
    next: usize,
    end: usize,
}

/// One element: its 16 bytes, and everything from its start to the end of the page.
struct RawElement<'a> {
    header: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    fn of(page: u64, bytes: &'a [u8]) -> Result<Self, ReadError> {
        let count = usize::from(u16_at(bytes, 10).unwrap_or(0));
        let end = PAGE_HEADER + count * ELEMENT;
        if end > bytes.len() {
            return Err(ReadError::Damaged {
                page,
                what: "it has more elements than it has room for",
            });
        }
        Ok(Self {
            bytes,
            next: PAGE_HEADER,
            end,
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = RawElement<'a>;

    fn next(&mut self) -> Option<RawElement<'a>> {
        if self.next >= self.end {
            return None;
        }
        let rest = self.bytes.get(self.next..)?;
        self.next += ELEMENT;
        Some(RawElement {
            header: rest.get(..ELEMENT)?,
            rest,
        })
    }
}

impl<'a> RawElement<'a> {
    /// The key and the value; `None` when they leave the page.
    fn data(
        &self,
        position: Option<u32>,
        key: Option<u32>,
        value: Option<u32>,
    ) -> Option<(&'a [u8], &'a [u8])> {
        let [position, key, value] = [position?, key?, value?].map(|number| number as usize);
        let data = self
            .rest
            .get(position..position.checked_add(key)?.checked_add(value)?)?;
        Some(data.split_at(key))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
