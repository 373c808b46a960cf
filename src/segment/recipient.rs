//! The public keys for which objects are encrypted.

use super::RECIPIENTS_MAX;
use age::Recipient as _;
use age::x25519::Recipient;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Public keys, each once, in the order given. None: objects are not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients(Vec<Recipient>);

/// A recipient that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Not an X25519 recipient.
    #[error(
        "recipient {text:?} is not an age X25519 public key ({reason}); it begins with 'age1' and 'binlogfs keygen' prints one"
    )]
    NotAKey {
        /// The text, shortened.
        text: String,
        /// What age says.
        reason: &'static str,
    },
    /// A private key where a public one belongs. The text is not repeated: it is a secret.
    #[error(
        "recipient {number} of the list is a private key (AGE-SECRET-KEY-…); put its public key (age1…) there, and keep the private one off this host"
    )]
    PrivateKey {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// A point for which no key exchange is possible.
    #[error(
        "recipient {text:?} is a weak key that protects nothing; make one with 'binlogfs keygen'"
    )]
    Weak {
        /// The text.
        text: String,
    },
    /// More than an object can have.
    #[error("{0} recipients are more than the {max} an object can have", max = RECIPIENTS_MAX)]
    TooMany(usize),
}

/// Longest part of a bad recipient that a message repeats.
const SHOWN_CHARS: usize = 80;

impl Recipients {
    /// No encryption.
    pub fn none() -> Recipients {
        Recipients::default()
    }

    /// Parses each of `texts`, such as `age1…`. Repeated ones count once.
    ///
    /// # Errors
    /// [`RecipientError`], which names the first bad one.
    pub fn parse<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Recipients, RecipientError> {
        let mut keys = Vec::new();
        for (place, text) in texts.into_iter().enumerate() {
            let key = parse_one(text.as_ref().trim(), place + 1)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
            if keys.len() > RECIPIENTS_MAX {
                return Err(RecipientError::TooMany(keys.len()));
            }
        }
        Ok(Recipients(keys))
    }

    /// Whether objects are written without encryption.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each recipient as text, for the ledger record.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether these are the recipients that a ledger record names, in whatever order.
    pub fn are(&self, recorded: &[String]) -> bool {
        let own = self.to_strings();
        own.iter().all(|key| recorded.contains(key)) && recorded.iter().all(|key| own.contains(key))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|key| key as &dyn age::Recipient)
    }
}

impl fmt::Display for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_strings().join(","))
    }
}

fn parse_one(text: &str, number: usize) -> Result<Recipient, RecipientError> {
    if text.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
        return Err(RecipientError::PrivateKey { number });
    }
    let shown = || text.chars().take(SHOWN_CHARS).collect::<String>();
    let key: Recipient = text.parse().map_err(|reason| RecipientError::NotAKey {
        text: shown(),
        reason,
    })?;
    // For the few points of low order age panics when it wraps a key: better here than in the middle of the night.
    let trial = catch_unwind(AssertUnwindSafe(|| {
        key.wrap_file_key(&age_core::format::FileKey::init_with_mut(|_| {}))
    }));
    match trial {
        Ok(Ok(_)) => Ok(key),
        Ok(Err(_)) | Err(_) => Err(RecipientError::Weak { text: shown() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::keygen;

    #[test]
    fn a_list_parses_prints_back_and_counts_each_once() {
        let (one, two) = (keygen().public, keygen().public);
        let list = Recipients::parse([&one, &two, &format!(" {one}\n")]).expect("parses");
        assert_eq!(list.to_strings(), [one.clone(), two.clone()]);
        assert_eq!(list.to_string(), format!("{one},{two}"));
        assert!(Recipients::none().is_empty());
    }

    #[test]
    fn the_error_names_the_bad_recipient() {
        let good = keygen().public;
        let mut typo = good.clone();
        let other = if typo.ends_with('q') { "p" } else { "q" };
        typo.replace_range(typo.len() - 1.., other);
        for bad in ["ssh-ed25519 AAAA", "age1", "", typo.as_str()] {
            let error = Recipients::parse([good.as_str(), bad]).expect_err(bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn a_private_key_is_refused_and_never_repeated() {
        use age_core::secrecy::ExposeSecret;
        let pair = keygen();
        let secret = pair.secret.expose_secret();
        for text in [secret.to_owned(), secret.to_lowercase()] {
            let error = Recipients::parse([text]).expect_err("a secret");
            assert_eq!(error, RecipientError::PrivateKey { number: 1 });
            let text = format!("{error} {error:?}");
            assert!(!text.to_uppercase().contains(&secret[20..40]), "{text}");
        }
    }

    #[test]
    fn a_point_of_low_order_is_refused_instead_of_panicking_later() {
        // The u-coordinates 0 and 1, as Bech32.
        for weak in [
            "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
            "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
        ] {
            let error = Recipients::parse([weak]).expect_err("weak");
            assert!(matches!(error, RecipientError::Weak { .. }), "{error}");
        }
    }

    #[test]
    fn more_recipients_than_an_object_can_have_are_refused() {
        let keys: Vec<String> = (0..=RECIPIENTS_MAX).map(|_| keygen().public).collect();
        assert!(Recipients::parse(&keys[1..]).is_ok());
        assert_eq!(
            Recipients::parse(&keys),
            Err(RecipientError::TooMany(RECIPIENTS_MAX + 1))
        );
    }
}
