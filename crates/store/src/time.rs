//! Points in time as the engines' JSON files have them: RFC 3339, as Go's `time.Time` writes and reads it.
//!
//! Podman refuses a whole `images.json` in which one time does not parse, so a time that comes from an image is never
//! copied: it is parsed here and written anew.

use vcontainer_image::Timestamp;

const DAY: i64 = 86_400;

/// Writes `time` in UTC, with a fraction only when there is one and without its trailing zeros.
/// Years outside 0–9999, which Go would not write, are brought to the nearest second inside.
pub(crate) fn to_rfc3339(time: Timestamp) -> String {
    // 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z
    let seconds = time.seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if time.nanoseconds != 0 {
        let fraction = format!("{:09}", time.nanoseconds.min(999_999_999));
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Reads what image configurations carry; `None` if it is no RFC 3339 time.
pub(crate) fn from_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |value: i64, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanoseconds = 0;
    if is(at, b".") {
        at += 1;
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            if at - start < 9 {
                nanoseconds = nanoseconds * 10 + u32::from(bytes[at] - b'0');
            }
            at += 1;
        }
        if at == start {
            return None;
        }
        nanoseconds *= 10_u32.pow(9_u32.saturating_sub(u32::try_from(at - start).ok()?));
    }
    let offset = match bytes.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { seconds, nanoseconds })
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year is taken to start in March, so that the leap day
/// is its last day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date `days` after 1970-01-01: the inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(to_rfc3339(time), text);
            assert_eq!(from_rfc3339(text), Some(time));
        }
        let noon = Timestamp {
            seconds: 1_704_106_800,
            nanoseconds: 0,
        };
        assert_eq!(from_rfc3339("2024-01-01T13:00:00+02:00"), Some(noon));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+2:00",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:00Zjunk",
            "2024-01-01T00:00:00\u{e9}",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_are_inverse(seconds in -62_167_219_200_i64..253_402_300_800, nanoseconds in 0_u32..1_000_000_000) {
            let time = Timestamp { seconds, nanoseconds };
            prop_assert_eq!(from_rfc3339(&to_rfc3339(time)), Some(time));
        }

        #[test]
        fn reading_never_fails_hard(text in "\\PC*") {
            let _ = from_rfc3339(&text);
        }
    }
}
