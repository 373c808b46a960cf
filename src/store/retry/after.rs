//! The header Retry-After (RFC 9110, section 10.2.3): a number of seconds, or a date.

use jiff::Timestamp;
use std::time::Duration;

/// What `text` says, at `now`; nothing when it is neither, or a date that has passed.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Duration::try_from(date.timestamp().duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        let now: Timestamp = "1999-12-31T23:59:00Z".parse().expect("a time");
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(59)),
            ("Fri, 31 Dec 1999 23:58:59 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let found = retry_after(text, now);
            assert_eq!(found, seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
