//! Durations and sizes as people write them: `90s`, `5m`, `2h`, `7d`; `64KiB`, `10MB`, `1GiB`.

use std::time::Duration;

/// Longest duration accepted, in seconds: ten years.
const DURATION_MAX_SECONDS: u64 = 3650 * 86_400;

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`, `w`.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "{text:?} is no duration; write a whole number and ms, s, m, h, d or w, such as \"5m\""
        )
    };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let millis_of_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err(bad()),
    };
    let millis = number.checked_mul(millis_of_unit);
    match millis {
        Some(millis) if millis <= DURATION_MAX_SECONDS * 1000 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("{text:?} is longer than ten years")),
    }
}

/// Reads a size in bytes: a whole number and one of `B`, `kB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` (powers of 1024).
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "{text:?} is no size; write a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as \"64MiB\""
        )
    };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let bytes_of_unit: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    number.checked_mul(bytes_of_unit).ok_or_else(bad)
}

/// Reads a rate: a size, per second whether or not `/s` says so.
///
/// # Errors
/// As for a size; also for zero, at which nothing would ever end.
pub fn rate(text: &str) -> Result<u64, String> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err(format!(
            "{text:?} would stop everything; leave it out for no limit"
        )),
        bytes => Ok(bytes),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("2 h", 7200),
            ("7d", 604_800),
            ("1w", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, bytes) in [
            ("10B", 10),
            ("64KiB", 65_536),
            ("10 MB", 10_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(rate("20MB/s"), Ok(20_000_000));
    }

    #[test]
    fn what_could_mean_several_things_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "1.5h",
            "5 months",
            "99999999999999999999s",
            "4000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "5", "64M", "64m", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(rate("0MB").is_err());
    }
}
