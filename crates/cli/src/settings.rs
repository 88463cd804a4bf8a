//! What comes from the environment besides options: the time of reproducible builds.

use anyhow::{Context as _, Result};
use vcontainer_image::Timestamp;

/// The time of everything that has none of its own: `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), or 0.
///
/// # Errors
/// A value that is no number of seconds.
pub fn source_date_epoch() -> Result<Timestamp> {
    Ok(given_source_date_epoch()?.unwrap_or_default())
}

/// `SOURCE_DATE_EPOCH`, if it is set.
///
/// # Errors
/// As [`source_date_epoch`].
pub fn given_source_date_epoch() -> Result<Option<Timestamp>> {
    let seconds = match std::env::var_os("SOURCE_DATE_EPOCH") {
        None => return Ok(None),
        Some(value) => value
            .to_str()
            .and_then(|text| text.parse().ok())
            // The year 9999: later times have no text that others read.
            .filter(|seconds| (0..=253_402_300_799).contains(seconds))
            .with_context(|| {
                format!(
                    "SOURCE_DATE_EPOCH is {value:?}: it must be a number of seconds since 1970 before the year 10000, or not set"
                )
            })?,
    };
    Ok(Some(Timestamp {
        seconds,
        nanoseconds: 0,
    }))
}
