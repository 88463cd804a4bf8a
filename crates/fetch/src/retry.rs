//! When to try again, and after how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest wait that a registry may ask for. One that asks for more is told of instead.
const MOST: Duration = Duration::from_secs(300);
/// The longest wait of our own.
const MOST_OWN: Duration = Duration::from_secs(30);

/// How often something is tried, and how long is waited in between.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// After this many failures in a row it is given up.
    pub tries: u32,
    /// The first wait; each further one is twice as long.
    pub pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            tries: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl Retries {
    /// How long to wait after so many failures in a row, of which the last asks for `asked`; `None` to give up.
    #[must_use]
    pub fn wait(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let own = self.pause.saturating_mul(doubled).min(MOST_OWN);
        match asked {
            Some(asked) if asked > MOST => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or a date. Source: RFC 9110 section 10.2.3.
#[must_use]
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if header.bytes().all(|byte| byte.is_ascii_digit()) {
        return header.parse().ok().map(Duration::from_secs);
    }
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(date(header)?))?;
    Some(then.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970.
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let parts: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hour, minute, second] = parts.as_slice() else {
        return None;
    };
    let fits = (1970..10_000).contains(&year)
        && (1..=31).contains(&day)
        && *hour < 24
        && *minute < 60
        && *second < 61;
    if !fits {
        return None;
    }
    // Howard Hinnant's days from civil: years begin in March, so that a leap day is the last of one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let retries = Retries {
            tries: 9,
            pause: Duration::from_secs(1),
        };
        let waits: Vec<u64> = (1..=9)
            .map_while(|failures| retries.wait(failures, None))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(
            retries.wait(1, Some(Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            retries.wait(4, Some(Duration::from_secs(7))),
            Some(Duration::from_secs(8))
        );
        assert_eq!(retries.wait(1, Some(Duration::from_secs(301))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (header, wait) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Thu, 29 Feb 1996 00:00:00 GMT", Some(825_552_000 - 784_111_777)),
            ("Sun, 06 Nov 1993 08:49:37 GMT", Some(0)),
            ("99999999999999999999999", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49 GMT", None),
        ] {
            assert_eq!(
                retry_after(header, now),
                wait.map(Duration::from_secs),
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "\\PC{0,40}|..., [0-9]{1,20} (Jan|Feb|Dec) [0-9]{1,20} [0-9:]{1,20} GMT") {
            let _ = retry_after(&header, SystemTime::now());
        }
    }
}
