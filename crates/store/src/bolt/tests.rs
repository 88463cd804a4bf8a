//! Round trips over generated trees, and a reader that is given damaged files.

use proptest::prelude::*;

use super::read::ReadError;
use super::write::WriteError;
use super::*;

fn tree() -> impl Strategy<Value = Bucket> {
    let key = || prop::collection::vec(any::<u8>(), 1..40);
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..100),
        1 => prop::collection::vec(any::<u8>(), 1000..6000),
    ];
    let bucket = move |item: BoxedStrategy<Item>| {
        (any::<u64>(), prop::collection::btree_map(key(), item, 0..12))
            .prop_map(|(sequence, entries)| Bucket { sequence, entries })
    };
    let leaf = value.prop_map(Item::Value).boxed();
    let nested = leaf.prop_recursive(
        4,
        400,
        40,
        move |inner| prop_oneof![1 => bucket(inner.clone()).prop_map(Item::Bucket), 1 => inner],
    );
    bucket(nested.boxed())
}

/// A bucket with `count` keys of `size` bytes values.
fn wide(count: u32, size: usize) -> Bucket {
    let mut bucket = Bucket {
        sequence: 7,
        ..Bucket::default()
    };
    for number in 0..count {
        bucket.put(format!("key {number:08}"), vec![number as u8; size]);
    }
    bucket
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_back(root in tree()) {
        let file = write(&root).unwrap();
        prop_assert_eq!(file.len() % 4096, 0);
        prop_assert_eq!(read(&file).unwrap(), root);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_but_never_crashes(
        root in tree(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = write(&root).unwrap();
        // The meta pages stay whole: otherwise nothing behind them would be reached.
        for (at, byte) in damage {
            let at = 8192 + at.index(file.len() - 8192);
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let _ = read(&file);
    }
}

#[test]
fn large_buckets_get_branch_pages_of_several_levels() {
    let mut root = Bucket::default();
    root.put_bucket("wide", wide(50_000, 20));
    root.put_bucket("long values", wide(50, 9000));
    let file = write(&root).unwrap();
    assert_eq!(read(&file).unwrap(), root);
    let branches = file
        .chunks(4096)
        .filter(|page| {
            page[8..10] == BRANCH.to_le_bytes() && u64::from_le_bytes(page[..8].try_into().unwrap()) > 2
        })
        .count();
    assert!(branches > 2, "{branches} branch pages");
}

#[test]
fn an_empty_database_has_the_layout_of_bbolts_own() {
    let file = write(&Bucket::default()).unwrap();
    // bbolt's db.init: two meta pages, free list, one empty leaf.
    assert_eq!(file.len(), 4 * 4096);
    assert_eq!(read(&file).unwrap(), Bucket::default());
}

#[test]
fn small_buckets_lie_inside_their_parents_page() {
    let mut root = Bucket::default();
    root.make(&[b"a"]).unwrap().put("k", vec![0; 900]);
    assert_eq!(write(&root).unwrap().len(), 4 * 4096);
    root.make(&[b"a"]).unwrap().put("k", vec![0; 1100]);
    assert_eq!(write(&root).unwrap().len(), 5 * 4096);
}

#[test]
fn the_valid_meta_page_with_the_higher_transaction_counts() {
    let mut root = Bucket::default();
    root.put("state", "new");
    let mut file = write(&root).unwrap();
    let old_root = file.len() as u64 / 4096;
    root.put("state", "old");
    // Meta page 0 (transaction 0) leads to a tree of its own at the end of the file.
    let other = write(&root).unwrap();
    file.extend_from_slice(&other[3 * 4096..]);
    let at = old_root as usize * 4096;
    file[at..at + 8].copy_from_slice(&old_root.to_le_bytes());
    for page in [0, 4096] {
        file[page + 16 + 40..][..8].copy_from_slice(&(old_root + 1).to_le_bytes());
    }
    file[16 + 16..][..8].copy_from_slice(&old_root.to_le_bytes());
    for page in [0, 4096] {
        let sum = checksum(&file[page + 16..page + 72]);
        file[page + 72..page + 80].copy_from_slice(&sum.to_le_bytes());
    }
    let state = |file: &[u8]| read(file).map(|root| root.value(b"state").unwrap().to_vec());
    assert_eq!(state(&file).unwrap(), b"new");
    file[4096 + 20] ^= 1;
    assert_eq!(state(&file).unwrap(), b"old");
    file[20] ^= 1;
    assert_eq!(state(&file), Err(ReadError::NoMeta));
    file[4096 + 20] ^= 1;
    assert_eq!(
        state(&file).unwrap(),
        b"new",
        "the second meta page is found without the first"
    );
}

#[test]
fn loops_and_pages_used_twice_are_refused() {
    let mut root = Bucket::default();
    root.put_bucket("wide", wide(1000, 20));
    let file = write(&root).unwrap();
    let branch = file
        .chunks(4096)
        .position(|page| page[8..10] == BRANCH.to_le_bytes() && page[0] > 2)
        .unwrap();
    for target in [branch as u64, 3, 0, 1, 2, u64::MAX] {
        let mut damaged = file.clone();
        let second = branch * 4096 + PAGE_HEADER + ELEMENT + 8;
        damaged[second..second + 8].copy_from_slice(&target.to_le_bytes());
        assert!(
            matches!(read(&damaged), Err(ReadError::Damaged { .. })),
            "{target}"
        );
    }
}

#[test]
fn keys_that_bbolt_cannot_hold_are_refused() {
    let mut root = Bucket::default();
    root.put("", "x");
    assert_eq!(write(&root), Err(WriteError::EmptyKey));
    let mut root = Bucket::default();
    root.put(vec![1; MAX_KEY + 1], "x");
    assert_eq!(write(&root), Err(WriteError::LongKey(MAX_KEY + 1)));
}
