//! A new age header for an object as it is stored: other recipients, the same file key and the same nonce.
//!
//! age has no call for this: its encryptor draws a file key of its own. So the header is put together here, of what age
//! gives: its recipients wrap the key, its writer writes their stanzas, its key derivation gives the MAC's key; and age reads
//! the result, MAC and all, before anybody else does.

use super::HEADER_MAX_BYTES;
use super::cipher::{ContentKey, NONCE_BYTES};
use super::error::SegmentError;
use super::recipient::Recipients;
use crate::model::counted::{count, of_number};
use age_core::format::{Stanza, write::age_stanza};
use age_core::primitives::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::hmac;

/// First line of every age v1 header.
const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
/// What stands before the MAC, and is the last that the MAC covers.
const MAC_TAG: &[u8] = b"---";
/// Label of the MAC's key in age's key derivation.
const MAC_LABEL: &[u8] = b"header";

impl ContentKey {
    /// The header of the same object for `recipients`, and after it the nonce that ends `header`. The object's chunks are
    /// read with it as they are: it stands in for the first bytes of the object, whatever its length.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] if `header` is too short to be one; [`SegmentError::Encode`] if there is no recipient, or the
    /// key cannot be wrapped.
    pub fn rewrap(&self, header: &[u8], recipients: &Recipients) -> Result<Vec<u8>, SegmentError> {
        if recipients.is_empty() {
            return Err(failed("there is no recipient"));
        }
        let nonce = header
            .len()
            .checked_sub(NONCE_BYTES)
            .and_then(|from| header.get(from..))
            .ok_or_else(|| SegmentError::corrupt("the age header is too short", 0))?;
        let mut new = VERSION_LINE.to_vec();
        for recipient in recipients.iter() {
            let (stanzas, _labels) = recipient
                .wrap_file_key(self.file_key())
                .map_err(|error| failed(&error.to_string()))?;
            for stanza in &stanzas {
                new = write_stanza(stanza, new)?;
            }
        }
        new.extend_from_slice(MAC_TAG);
        let mac = hmac::sign(&self.mac_key(), &new);
        new.push(b' ');
        new.extend_from_slice(STANDARD_NO_PAD.encode(mac).as_bytes());
        new.push(b'\n');
        new.extend_from_slice(nonce);
        if new.len() as u64 > HEADER_MAX_BYTES {
            return Err(SegmentError::Limit {
                what: "age header size",
                value: new.len() as u64,
                max: HEADER_MAX_BYTES,
            });
        }
        self.check(&new)?;
        Ok(new)
    }

    fn mac_key(&self) -> hmac::Key {
        use age_core::secrecy::ExposeSecret as _;
        let key = hkdf(&[], MAC_LABEL, self.file_key().expose_secret());
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    }

    /// Has age read `header` with this key: every stanza parses, and the MAC is right.
    fn check(&self, header: &[u8]) -> Result<(), SegmentError> {
        age::Decryptor::new_buffered(header)
            .and_then(|decryptor| decryptor.decrypt(std::iter::once(self as &dyn age::Identity)))
            .map(drop)
            .map_err(|error| failed(&format!("age does not read the new header: {error}")))
    }
}

fn write_stanza(stanza: &Stanza, out: Vec<u8>) -> Result<Vec<u8>, SegmentError> {
    let write = age_stanza::<Vec<u8>, String>(&stanza.tag, &stanza.args, &stanza.body);
    let written = write(out.into());
    let (out, _position) = written
        .map_err(|error| failed(&error.to_string()))?
        .into_inner();
    Ok(out)
}

fn failed(reason: &str) -> SegmentError {
    SegmentError::Encode {
        reason: reason.to_owned(),
    }
}

/// Checks that `header` is an age header for as many public keys as are recorded, without any key: what a record carries can be
/// told from rubbish by whoever verifies without a private key.
///
/// # Errors
/// [`SegmentError::Corrupt`] with what does not fit.
pub fn check_carried_header(header: &[u8], recipients: usize) -> Result<(), SegmentError> {
    if header.len() as u64 > HEADER_MAX_BYTES {
        return Err(SegmentError::corrupt(
            "the carried age header is too long",
            None,
        ));
    }
    age::Decryptor::new_buffered(header).map_err(|error| {
        SegmentError::corrupt(
            format!("the carried age header cannot be read: {error}"),
            None,
        )
    })?;
    let stanzas = header
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"-> X25519 "))
        .count();
    if stanzas != recipients {
        return Err(SegmentError::corrupt(
            format!(
                "the carried age header is for {}, and {recipients} {} recorded",
                count(stanzas as u64, "recipient"),
                of_number(recipients as u64, "is", "are")
            ),
            None,
        ));
    }
    Ok(())
}
