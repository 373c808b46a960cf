//! An object as the JSON API describes it, and as it wants a new one described.

use super::locks::Retention;
use crate::model::Micros;
use crate::store::{Keeping, Lock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

/// An object as the API describes it. Its numbers are text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) name: Option<String>,
    size: Option<String>,
    crc32c: Option<String>,
    pub(super) generation: Option<String>,
    time_created: Option<String>,
    pub(super) retention: Option<Retention>,
    /// Of the bucket's own policy.
    retention_expiration_time: Option<String>,
    #[serde(default)]
    temporary_hold: bool,
    #[serde(default)]
    event_based_hold: bool,
}

impl Object {
    pub(super) fn size(&self) -> Option<u64> {
        self.size.as_deref()?.parse().ok()
    }

    pub(super) fn crc32c(&self) -> Option<u32> {
        let bytes = BASE64.decode(self.crc32c.as_deref()?).ok()?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// How long it is kept: by its own retention, by the bucket's policy, which nobody may shorten for an object, or by a hold.
    pub(super) fn keeping(&self) -> Keeping {
        let own = self.retention.as_ref().and_then(Retention::lock);
        let policy = self.retention_expiration_time.as_deref().and_then(time);
        let policy = policy.map(|until| Lock {
            mode: crate::store::LockMode::Compliance,
            until,
        });
        Keeping {
            made_at: self.time_created.as_deref().and_then(time),
            lock: own.into_iter().chain(policy).max_by_key(|lock| lock.until),
            legal_hold: self.temporary_hold || self.event_based_hold,
        }
    }
}

/// A time as the API writes it.
pub(super) fn time(text: &str) -> Option<Micros> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Micros(time.as_microsecond()))
}

/// A CRC as the API writes it: base64 of its bytes, most significant first.
pub(super) fn crc_text(crc: u32) -> String {
    BASE64.encode(crc.to_be_bytes())
}

/// A description and the bytes, as `uploadType=multipart` wants them. No bytes hold a boundary that was drawn just now.
pub(super) fn multipart(boundary: &str, described: &serde_json::Value, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{described}\r\n--{boundary}\r\nContent-Type: \
         application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    [head.as_bytes(), body, tail.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_written_as_the_api_reference_does() {
        // "123456789" has the CRC-32C e3069283.
        assert_eq!(crc_text(0xe306_9283), "4waSgw==");
        let object: Object =
            serde_json::from_str(r#"{"size":"9","crc32c":"4waSgw=="}"#).expect("an object");
        assert_eq!(object.crc32c(), Some(0xe306_9283));
        assert_eq!(object.size(), Some(9));
    }
}
