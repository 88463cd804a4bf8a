//! One 512-byte header block of a tar archive, and the records of a PAX extended header.
//!
//! Sources: POSIX.1-2017 `pax` (ustar and PAX interchange formats), GNU tar manual "Basic Tar Format" (GNU magic,
//! base-256 numbers), star(5) (131-byte prefix). Where these leave freedom this module decides as Go's `archive/tar`
//! does, because Docker, Podman and containerd read layers with it and tar-split records the names it resolves.

/// The size of a header block; contents are padded to a multiple of it.
pub(crate) const BLOCK: usize = 512;

/// The fields of a header block before any extended header is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawHeader {
    /// Prefix and name joined.
    pub name: Vec<u8>,
    pub link_name: Vec<u8>,
    pub type_flag: u8,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size: i64,
    pub mtime: i64,
    pub major: i64,
    pub minor: i64,
}

/// Why a block is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Neither the unsigned nor the signed sum of the bytes is the one recorded.
    #[error("its checksum is wrong")]
    Checksum,
    /// A numeric field that is neither octal nor base-256, or too big.
    #[error("its {0} field is not a number")]
    Number(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl RawHeader {
    /// Reads a block.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, HeaderFault> {
        let recorded = octal(&block[148..156]).ok_or(HeaderFault::Checksum)?;
        let (unsigned, signed) = checksums(block);
        if recorded != unsigned && recorded != signed {
            return Err(HeaderFault::Checksum);
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Ustar,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        let field = |name, bytes: &[u8]| numeric(bytes).ok_or(HeaderFault::Number(name));
        let mut header = Self {
            name: text(&block[..100]).to_vec(),
            link_name: text(&block[157..257]).to_vec(),
            type_flag: block[156],
            mode: field("mode", &block[100..108])?,
            uid: field("uid", &block[108..116])?,
            gid: field("gid", &block[116..124])?,
            size: field("size", &block[124..136])?,
            mtime: field("mtime", &block[136..148])?,
            major: 0,
            minor: 0,
        };
        if format != Format::V7 {
            header.major = field("major device number", &block[329..337])?;
            header.minor = field("minor device number", &block[337..345])?;
        }
        let prefix = match format {
            Format::Ustar => text(&block[345..500]),
            Format::Star => text(&block[345..476]),
            Format::V7 => b"",
            Format::Gnu => misplaced_prefix(block),
        };
        if !prefix.is_empty() {
            header.name = [prefix, b"/", &header.name].concat();
        }
        Ok(header)
    }
}

/// GNU headers have times where ustar has its prefix. Go's own writer before 1.8 put a prefix there nevertheless;
/// its reader takes it as one when the times are no numbers and the text is ASCII.
fn misplaced_prefix(block: &[u8; BLOCK]) -> &[u8] {
    let time_is_bad = |bytes: &[u8]| bytes[0] != 0 && numeric(bytes).is_none();
    if time_is_bad(&block[345..357]) || time_is_bad(&block[357..369]) {
        let prefix = text(&block[345..500]);
        if prefix.is_ascii() {
            return prefix;
        }
    }
    b""
}

/// The sums of all bytes with the checksum field taken as blanks: unsigned, and signed as some old programs wrote it.
fn checksums(block: &[u8; BLOCK]) -> (i64, i64) {
    let mut unsigned = 8 * i64::from(b' ');
    let mut high = 0i64;
    for part in [&block[..148], &block[156..]] {
        // Sums of at most 504 bytes fit in 32 bits; the narrow type lets the compiler vectorise.
        unsigned += i64::from(part.iter().map(|byte| u32::from(*byte)).sum::<u32>());
        high += i64::from(part.iter().map(|byte| u32::from(*byte >> 7)).sum::<u32>());
    }
    (unsigned, unsigned - 256 * high)
}

/// The bytes before the first NUL.
pub(crate) fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Octal digits surrounded by blanks and NULs; nothing at all is 0.
fn octal(bytes: &[u8]) -> Option<i64> {
    let is_filler = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = bytes
        .iter()
        .position(|byte| !is_filler(byte))
        .unwrap_or(bytes.len());
    let digits = text(&bytes[start..]);
    let end = digits
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(0, |last| last + 1);
    digits[..end].iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Octal, or base-256 (two's complement, big endian) when the first bit is set.
fn numeric(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return octal(bytes);
    }
    // Bit 6 is the sign. The first byte contributes its lower 7 bits, sign extended.
    let negative = first & 0x40 != 0;
    let start = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    let value = bytes[1..].iter().try_fold(start, |value, byte| {
        value.checked_mul(256)?.checked_add(i128::from(*byte))
    })?;
    i64::try_from(value).ok()
}

/// One record of a PAX extended header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PaxRecord<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// Splits off the first record `"%d %s=%s\n"`, whose length counts itself. Values may hold any bytes, newlines too:
/// only the length tells where a record ends.
pub(crate) fn pax_record(data: &[u8]) -> Option<(PaxRecord<'_>, &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = decimal(&data[..space])?;
    let length = usize::try_from(length).ok()?;
    if length < space + 2 || length > data.len() {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let (last, body) = record[space + 1..].split_last()?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if *last != b'\n' || key.is_empty() || key.contains(&0) {
        return None;
    }
    Some((PaxRecord { key, value }, rest))
}

/// A decimal number as PAX records have it, negative ones included.
pub(crate) fn decimal(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Seconds with an optional fraction, as `mtime` has it: whole seconds rounded down and nanoseconds.
pub(crate) fn pax_time(bytes: &[u8]) -> Option<(i64, u32)> {
    let dot = bytes.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match dot {
        Some(dot) => (&bytes[..dot], &bytes[dot + 1..]),
        None => (bytes, &b""[..]),
    };
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    if whole.first() == Some(&b'-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(numeric(b"0000644\0"), Some(0o644));
        assert_eq!(numeric(b"   644 \0"), Some(0o644));
        assert_eq!(numeric(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(numeric(b"12345678"), None);
        assert_eq!(numeric(b"00000008"), None);
        assert_eq!(numeric(b"\x80\0\0\0\0\0\0\x05"), Some(5));
        assert_eq!(numeric(b"\x80\0\0\0\x01\0\0\0\0\0\0\0"), Some(1 << 56));
        assert_eq!(
            numeric(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Some(-1)
        );
        assert_eq!(numeric(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(numeric(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn records_end_where_their_length_says() {
        let data = b"30 SCHILY.xattr.user.a=1\n2\n=\0\n9 path=b\n";
        let (first, rest) = pax_record(data).unwrap();
        assert_eq!(first.key, b"SCHILY.xattr.user.a");
        assert_eq!(first.value, b"1\n2\n=\0");
        let (second, rest) = pax_record(rest).unwrap();
        assert_eq!(
            (second.key, second.value, rest),
            (&b"path"[..], &b"b"[..], &b""[..])
        );
        for wrong in [
            &b""[..],
            b"path=b\n",
            b"9 path=bX",
            b"8 path=b\n",
            b"99 path=b\n",
            b"-9 path=b\n",
            b"5 =b\n",
            b"8 pathb\n",
            b"18446744073709551615 a=b\n",
        ] {
            assert_eq!(pax_record(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn times_keep_their_fraction_and_sign() {
        assert_eq!(pax_time(b"1700000000"), Some((1_700_000_000, 0)));
        assert_eq!(pax_time(b"1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(pax_time(b"1.0000000019"), Some((1, 1)));
        assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(pax_time(b"1.x"), None);
        assert_eq!(pax_time(b""), None);
    }
}
