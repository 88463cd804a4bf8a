//! The values in containerd's databases: integers, times, the keys of the parent index.
//!
//! Source: Go, `encoding/binary/varint.go` and `time/time.go` (`MarshalBinary`); containerd, `core/metadata/boltutil/helpers.go`
//! and `core/snapshots/storage/bolt.go` (`parentKey`).

use vcontainer_image::Timestamp;

/// An unsigned integer: seven bits a byte, least significant first, the top bit set in all but the last byte.
pub(super) fn uvarint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A signed integer: zig-zag (0, -1, 1, -2 … become 0, 1, 2, 3 …), then as unsigned.
pub(super) fn varint(number: i64) -> Vec<u8> {
    uvarint(((number << 1) ^ (number >> 63)) as u64)
}

/// Reads what [`uvarint`] writes; `None` if it is cut off, longer or greater than 64 bits.
pub(super) fn read_uvarint(bytes: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(index).ok()?;
        number |= bits
            .checked_shl(shift)
            .filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return (index + 1 == bytes.len()).then_some(number);
        }
    }
    None
}

/// Reads what [`varint`] writes.
pub(super) fn read_varint(bytes: &[u8]) -> Option<i64> {
    let number = read_uvarint(bytes)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

/// Seconds from Go's zero time (0001-01-01) to 1970.
const UNIX_EPOCH: i64 = 62_135_596_800;

/// A time as Go's `MarshalBinary` has it: version 1, seconds since year 1, nanoseconds, and -1 minutes for "UTC".
pub(super) fn time(time: Timestamp) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&time.seconds.saturating_add(UNIX_EPOCH).to_be_bytes());
    bytes.extend_from_slice(&time.nanoseconds.to_be_bytes());
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

/// The key in the snapshotter's parent index: both identifiers with a zero byte between them.
pub(super) fn parent_key(parent: u64, child: u64) -> Vec<u8> {
    let mut key = uvarint(parent);
    key.push(0);
    key.extend_from_slice(&uvarint(child));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_gos_varints() {
        for (number, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
        ] {
            assert_eq!(uvarint(number), bytes);
        }
        assert_eq!(varint(4), [8]);
        assert_eq!(varint(-1), [1]);
        for number in [0, 1, -1, 63, 64, i64::MAX, i64::MIN] {
            assert_eq!(read_varint(&varint(number)), Some(number));
        }
        assert_eq!(read_uvarint(&uvarint(u64::MAX)), Some(u64::MAX));
        for wrong in [
            &[][..],
            &[0x80],
            &[1, 1],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(read_uvarint(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn times_are_gos_binary_times() {
        // time.Unix(0, 5).UTC().MarshalBinary()
        let bytes = [1, 0, 0, 0, 0x0e, 0x77, 0x91, 0xf7, 0, 0, 0, 0, 5, 0xff, 0xff];
        let at = Timestamp {
            seconds: 0,
            nanoseconds: 5,
        };
        assert_eq!(time(at), bytes);
    }
}
