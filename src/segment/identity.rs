//! The private keys with which objects are read.

use age::x25519::Identity;
use age_core::secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Private keys, each with the file it came from. What they are is never printed.
#[derive(Clone)]
pub struct Identities(Vec<Named>);

/// A key and where it was found, for messages.
#[derive(Clone)]
struct Named {
    key: Identity,
    file: std::sync::Arc<str>,
}

/// An identity file that cannot be used. The file's content is not repeated: it is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identity file {file}{}: {reason}", line.map(|n| format!(" line {n}")).unwrap_or_default())]
pub struct IdentityError {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub reason: &'static str,
}

/// A new private key and the public key that belongs to it.
pub struct KeyPair {
    /// `AGE-SECRET-KEY-1…`.
    pub secret: SecretString,
    /// `age1…`.
    pub public: String,
}

/// Largest identity file: some hundred keys with comments. A wrong file (a core dump, a device) ends here.
pub const IDENTITY_FILE_MAX_BYTES: usize = 64 << 10;
/// Most keys: each is tried on each recipient of a header.
const IDENTITIES_MAX: usize = 64;

impl Identities {
    /// No key: what is encrypted stays closed.
    pub fn none() -> Identities {
        Identities(Vec::new())
    }

    /// Parses the content of identity file `file`: private keys one a line, `#` comments, as `age-keygen` writes it.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and the line.
    pub fn parse(file: &str, content: &str) -> Result<Identities, IdentityError> {
        let fail = |line, reason| IdentityError {
            file: file.to_owned(),
            line,
            reason,
        };
        if content.len() > IDENTITY_FILE_MAX_BYTES {
            return Err(fail(None, "is too large; give a file made by age-keygen"));
        }
        let (mut keys, name) = (Vec::new(), std::sync::Arc::<str>::from(file));
        for (number, line) in content.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = line
                .parse::<Identity>()
                .map_err(|_| fail(Some(number + 1), why_not(line)))?;
            let file = std::sync::Arc::clone(&name);
            keys.push(Named { key, file });
        }
        if keys.is_empty() {
            return Err(fail(None, "holds no key; make one with 'binlogfs keygen'"));
        }
        if keys.len() > IDENTITIES_MAX {
            return Err(fail(None, "holds more than 64 keys; keep those in use"));
        }
        Ok(Identities(keys))
    }

    /// These keys and those of another file.
    #[must_use]
    pub fn and(mut self, other: Identities) -> Identities {
        self.0.extend(other.0);
        self
    }

    /// The public keys, for messages.
    pub fn public_keys(&self) -> Vec<String> {
        let keys = self.0.iter();
        keys.map(|named| named.key.to_public().to_string())
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|named| &named.key as &dyn age::Identity)
    }
}

/// Why `line` is not a key, without repeating it.
fn why_not(line: &str) -> &'static str {
    if line.starts_with("age1") {
        "is a public key; a private key (AGE-SECRET-KEY-1…) belongs here"
    } else if line.starts_with("AGE-PLUGIN-") {
        "is a plugin's identity, which binlogfs cannot use; give an X25519 key"
    } else if line.starts_with("-----BEGIN AGE") || line.starts_with("age-encryption.org/") {
        "is encrypted with a passphrase; decrypt it first with 'age -d'"
    } else if line.starts_with("-----BEGIN") {
        "is an SSH or PEM key, which binlogfs cannot use; give an age X25519 key"
    } else if line.starts_with("AGE-SECRET-KEY-") {
        "is a damaged private key; copy it again"
    } else {
        "is not a private key (AGE-SECRET-KEY-1…)"
    }
}

impl fmt::Display for Identities {
    /// The public keys, each with the file that has its private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, named) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let (key, file) = (named.key.to_public(), &named.file);
            write!(f, "{comma}{key} ({file})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({self})")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public)
    }
}

impl KeyPair {
    /// The content of an identity file, as `age-keygen` writes it but for the date.
    pub fn identity_file(&self) -> SecretString {
        let secret = self.secret.expose_secret();
        SecretString::from(format!("# public key: {}\n{secret}\n", self.public))
    }
}

/// Makes a key pair from the system's random numbers.
pub fn keygen() -> KeyPair {
    let identity = Identity::generate();
    KeyPair {
        secret: identity.to_string(),
        public: identity.to_public().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_parses_with_comments_and_foreign_line_ends() {
        let (one, two) = (keygen(), keygen());
        let content = format!(
            "{}\r\n\r\n  {}  \n# the end",
            one.identity_file().expose_secret(),
            two.secret.expose_secret()
        );
        let identities = Identities::parse("keys.txt", &content).expect("parses");
        assert_eq!(identities.public_keys(), [one.public, two.public]);
    }

    #[test]
    fn errors_name_file_and_line_and_nothing_secret() {
        let pair = keygen();
        let secret = pair.secret.expose_secret();
        let mut damaged = secret.to_owned();
        let other = if damaged.ends_with('Q') { "P" } else { "Q" };
        damaged.replace_range(damaged.len() - 1.., other);
        for (content, expected) in [
            (
                format!("# x\n{damaged}"),
                "line 2: is a damaged private key",
            ),
            (
                format!("{secret}\n{}", pair.public),
                "line 2: is a public key",
            ),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), "SSH or PEM"),
            ("-----BEGIN AGE ENCRYPTED FILE-----".into(), "passphrase"),
            ("AGE-PLUGIN-YUBIKEY-1QQQ".into(), "plugin"),
            ("hunter2".into(), "line 1: is not a private key"),
            ("# only a comment\n".into(), "holds no key"),
            (" ".repeat(IDENTITY_FILE_MAX_BYTES + 1), "too large"),
        ] {
            let error = Identities::parse("/etc/k.txt", &content).expect_err(expected);
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("/etc/k.txt"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert!(!text.contains(&secret[20..40]), "{text}");
        }
    }

    #[test]
    fn debug_and_display_show_public_keys_only() {
        let pair = keygen();
        let secret = pair.secret.expose_secret();
        let identities = Identities::parse("k", secret).expect("parses");
        let text = format!("{identities} {identities:?} {pair:?} {:?}", pair.secret);
        assert!(text.contains(&pair.public), "{text}");
        assert!(!text.contains(&secret[16..30]), "{text}");
    }
}
