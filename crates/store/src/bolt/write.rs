//! From a tree of buckets to the bytes of a bbolt file.

use super::{
    BRANCH, BUCKET_HEADER, Bucket, ELEMENT, FREELIST, IS_BUCKET, Item, LEAF, MAGIC, MAX_KEY, META,
    PAGE_HEADER, VERSION, checksum,
};

/// bbolt takes the page size from the file, whatever page size the machine has.
const PAGE_SIZE: usize = 4096;
/// A bucket without sub-buckets whose leaf page is no longer than this lies in its parent's page (`maxInlineBucketSize`).
const MAX_INLINE: usize = PAGE_SIZE / 4;
/// The longest value written here; bbolt's own limit is twice that.
const MAX_VALUE: usize = 1 << 30;
/// The free list, which is empty, and the first page after it.
const FREELIST_PAGE: u64 = 2;

/// Why a tree of buckets has no form as a bbolt file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// bbolt has no empty keys.
    #[error("a record has an empty key, which a bbolt database cannot hold")]
    EmptyKey,
    /// A key is longer than 32768 bytes.
    #[error("a record has a key of {0} bytes; a bbolt database holds keys of at most {MAX_KEY}")]
    LongKey(usize),
    /// A value is longer than 1 GiB.
    #[error("a record has a value of {0} bytes, which is too long for a metadata database")]
    LongValue(usize),
}

/// The bytes of a bbolt file that holds what `root` holds.
///
/// The file has no free pages, and its transaction number is 1. Pages are filled up and linked by branch pages as bbolt
/// itself does it: a leaf of any length would be legal too (a page may go on in the pages after it), but bbolt would have to
/// copy and split all of it at its first change, and it can't have more than 65534 elements.
///
/// # Errors
/// A key or value of impossible length.
pub fn write(root: &Bucket) -> Result<Vec<u8>, WriteError> {
    let mut file = vec![0; 2 * PAGE_SIZE];
    append_page(&mut file, FREELIST, 0, &[]);
    let root_page = write_bucket(&mut file, root)?;
    let pages = (file.len() / PAGE_SIZE) as u64;
    for transaction in 0..2_u64 {
        let meta = meta_page(transaction, root_page, root.sequence, pages);
        let start = if transaction == 0 { 0 } else { PAGE_SIZE };
        file[start..start + meta.len()].copy_from_slice(&meta);
    }
    Ok(file)
}

/// An element of a page before it is laid out.
struct Element {
    key: Vec<u8>,
    kind: ElementKind,
}

enum ElementKind {
    /// In a leaf page.
    Leaf { flags: u32, value: Vec<u8> },
    /// In a branch page: the page that starts with `key`.
    Branch { page: u64 },
}

impl Element {
    /// How many bytes of a page the element takes.
    fn size(&self) -> usize {
        let value = match &self.kind {
            ElementKind::Leaf { value, .. } => value.len(),
            ElementKind::Branch { .. } => 0,
        };
        ELEMENT + self.key.len() + value
    }
}

/// Writes the pages of everything in `bucket` and returns the page of its root.
fn write_bucket(file: &mut Vec<u8>, bucket: &Bucket) -> Result<u64, WriteError> {
    let mut elements = leaf_elements(file, bucket)?;
    let mut flags = LEAF;
    loop {
        let mut level = Vec::new();
        for group in pages_of(elements) {
            let first = group.first().map(|element| element.key.clone());
            let page = append_page(file, flags, group.len(), &page_body(&group));
            level.push(Element {
                key: first.unwrap_or_default(),
                kind: ElementKind::Branch { page },
            });
        }
        if let [
            Element {
                kind: ElementKind::Branch { page },
                ..
            },
        ] = level.as_slice()
        {
            return Ok(*page);
        }
        elements = level;
        flags = BRANCH;
    }
}

/// The elements of a bucket's leaves; the pages of sub-buckets that do not fit inline are written on the way.
fn leaf_elements(file: &mut Vec<u8>, bucket: &Bucket) -> Result<Vec<Element>, WriteError> {
    let mut elements = Vec::with_capacity(bucket.entries.len());
    for (key, item) in &bucket.entries {
        if key.is_empty() {
            return Err(WriteError::EmptyKey);
        }
        if key.len() > MAX_KEY {
            return Err(WriteError::LongKey(key.len()));
        }
        let (flags, value) = match item {
            Item::Value(value) if value.len() > MAX_VALUE => return Err(WriteError::LongValue(value.len())),
            Item::Value(value) => (0, value.clone()),
            Item::Bucket(inner) => (IS_BUCKET, bucket_value(file, inner)?),
        };
        elements.push(Element {
            key: key.clone(),
            kind: ElementKind::Leaf { flags, value },
        });
    }
    Ok(elements)
}

/// The value of a leaf element that is a bucket: where its pages are, or the bucket itself if it is small.
fn bucket_value(file: &mut Vec<u8>, bucket: &Bucket) -> Result<Vec<u8>, WriteError> {
    let size: usize = bucket
        .iter()
        .map(|(key, item)| match item {
            Item::Value(value) => ELEMENT + key.len() + value.len(),
            Item::Bucket(_) => MAX_INLINE,
        })
        .fold(PAGE_HEADER, usize::saturating_add);
    let mut value = Vec::with_capacity(BUCKET_HEADER);
    if size > MAX_INLINE {
        value.extend_from_slice(&write_bucket(file, bucket)?.to_le_bytes());
        value.extend_from_slice(&bucket.sequence.to_le_bytes());
    } else {
        let elements = leaf_elements(file, bucket)?;
        value.extend_from_slice(&0_u64.to_le_bytes());
        value.extend_from_slice(&bucket.sequence.to_le_bytes());
        value.extend_from_slice(&page_header(0, LEAF, elements.len(), 0));
        value.extend_from_slice(&page_body(&elements));
    }
    Ok(value)
}

/// Divides the elements of one level among pages: as many as fit, but at least two in each (`MinKeysPerPage`), so that no
/// branch page has a single child. An empty level is one empty page.
fn pages_of(elements: Vec<Element>) -> Vec<Vec<Element>> {
    let mut pages = Vec::new();
    let mut page = Vec::new();
    let mut size = PAGE_HEADER;
    let mut left = elements.len();
    for element in elements {
        if size + element.size() > PAGE_SIZE && page.len() >= 2 && left >= 2 {
            pages.push(std::mem::take(&mut page));
            size = PAGE_HEADER;
        }
        size += element.size();
        left -= 1;
        page.push(element);
    }
    pages.push(page);
    pages
}

/// What follows the header of a page: all elements, then all keys and values.
fn page_body(elements: &[Element]) -> Vec<u8> {
    let mut table = Vec::with_capacity(elements.iter().map(Element::size).sum());
    let mut data = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        // Counted from the start of this element. At most some dozens of elements share a page, and two of 1 GiB stay below
        // 4 GiB: a page takes a further element only while it is shorter than a page.
        let position = ((elements.len() - index) * ELEMENT + data.len()) as u32;
        let key_size = element.key.len() as u32;
        data.extend_from_slice(&element.key);
        match &element.kind {
            ElementKind::Leaf { flags, value } => {
                for number in [*flags, position, key_size, value.len() as u32] {
                    table.extend_from_slice(&number.to_le_bytes());
                }
                data.extend_from_slice(value);
            }
            ElementKind::Branch { page } => {
                for number in [position, key_size] {
                    table.extend_from_slice(&number.to_le_bytes());
                }
                table.extend_from_slice(&page.to_le_bytes());
            }
        }
    }
    table.extend_from_slice(&data);
    table
}

/// Appends a page, with as many pages after it as it needs, and returns its number.
fn append_page(file: &mut Vec<u8>, flags: u16, count: usize, body: &[u8]) -> u64 {
    let id = (file.len() / PAGE_SIZE) as u64;
    debug_assert!(id >= FREELIST_PAGE);
    let pages = (PAGE_HEADER + body.len()).div_ceil(PAGE_SIZE);
    file.extend_from_slice(&page_header(id, flags, count, pages - 1));
    file.extend_from_slice(body);
    file.resize(file.len().next_multiple_of(PAGE_SIZE), 0);
    id
}

fn page_header(id: u64, flags: u16, count: usize, overflow: usize) -> [u8; PAGE_HEADER] {
    let mut header = [0; PAGE_HEADER];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[8..10].copy_from_slice(&flags.to_le_bytes());
    // A page of 4096 bytes has room for 240 elements; only pages of few, long elements are longer.
    header[10..12].copy_from_slice(&(count as u16).to_le_bytes());
    header[12..].copy_from_slice(&(overflow as u32).to_le_bytes());
    header
}

/// Page 0 or 1. Both lead to the same tree; bbolt uses the one with the higher transaction number and overwrites the other.
fn meta_page(transaction: u64, root_page: u64, sequence: u64, pages: u64) -> Vec<u8> {
    let mut record = Vec::new();
    for number in [MAGIC, VERSION, PAGE_SIZE as u32, 0] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    for number in [root_page, sequence, FREELIST_PAGE, pages, transaction] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.extend_from_slice(&checksum(&record).to_le_bytes());
    let mut page = page_header(transaction, META, 0, 0).to_vec();
    page.extend_from_slice(&record);
    page
}
