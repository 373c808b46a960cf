//! The names of a segment: in the server's directory, in the bucket and in the mount.

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest basename: a mount name adds 25 bytes and an object key 45, and file systems end at 255.
const BASENAME_MAX_BYTES: usize = 200;
/// File systems refuse longer names (NAME_MAX).
const FILE_NAME_MAX_BYTES: usize = 255;
/// S3 and GCS refuse longer keys.
const KEY_MAX_BYTES: usize = 1024;
/// MySQL stops numbering here (MAX_LOG_UNIQUE_FN_EXT).
pub const SEGMENT_NUMBER_MAX: u64 = 0x7FFF_FFFF;

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} {reason}")]
pub struct NameError {
    what: &'static str,
    name: String,
    reason: &'static str,
}

fn refuse(what: &'static str, name: &str, reason: &'static str) -> NameError {
    NameError {
        what,
        name: name.chars().take(300).collect(),
        reason,
    }
}

/// Checks what holds for every name that may become one component of a path.
fn check_component(what: &'static str, name: &str, max_bytes: usize) -> Result<(), NameError> {
    let reason = if name.is_empty() {
        "is empty"
    } else if name.len() > max_bytes {
        "is too long"
    } else if name.starts_with('.') {
        "begins with a dot"
    } else if name.contains('/') {
        "has a slash"
    } else if has_control(name) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(refuse(what, name, reason))
}

/// Nearly every name is ASCII, and need not be decoded: a first mount reads six million of them.
fn has_control(name: &str) -> bool {
    match name.is_ascii() {
        true => name.bytes().any(|byte| byte.is_ascii_control()),
        false => name.chars().any(char::is_control),
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::model::text::deserialize(deserializer)
            }
        }
    };
}

macro_rules! number_type {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_type!(
    /// The number of a binlog file: the digits after its last dot, 1 to 2^31-1 (0 names a gap before number 1).
    SegmentNumber(u64)
);
number_type!(
    /// One numbering life of one server: until RESET, restore or failover. Counted from 1 by the ledger.
    Incarnation(u32)
);
number_type!(
    /// Incarnations whose GTID history continues. Counted from 1 by the ledger.
    Timeline(u32)
);
number_type!(
    /// The place of a record in the ledger: 1, 2, 3, ...
    Seq(u64)
);

/// What stands before the number: `binlog` of `binlog.000042` (the server's `log_bin_basename`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Basename(CompactString);
text_type!(Basename);

impl FromStr for Basename {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_component("binlog basename", text, BASENAME_MAX_BYTES)?;
        Ok(Basename(text.into()))
    }
}

impl Basename {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Basename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A binlog file's own name, such as `binlog.000042`: basename, dot, number in at least six digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    basename: Basename,
    number: SegmentNumber,
}
text_type!(FileName);

impl FileName {
    /// The name the server gives to `number`.
    pub fn new(basename: Basename, number: SegmentNumber) -> FileName {
        FileName { basename, number }
    }

    /// What stands before the number.
    pub fn basename(&self) -> &Basename {
        &self.basename
    }

    /// The number.
    pub fn number(&self) -> SegmentNumber {
        self.number
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let what = "binlog file name";
        check_component(what, text, FILE_NAME_MAX_BYTES)?;
        let (basename, digits) = text
            .rsplit_once('.')
            .ok_or_else(|| refuse(what, text, "has no number after a dot"))?;
        if digits.len() < 6 || digits.len() > 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse(
                what,
                text,
                "does not end in a number of six or more digits",
            ));
        }
        let number: u64 = digits
            .parse()
            .map_err(|_| refuse(what, text, "has a number out of range"))?;
        // The server writes six digits, and more only where the number has more.
        let padded = digits.len() > 6 && digits.starts_with('0');
        if number > SEGMENT_NUMBER_MAX || padded {
            return Err(refuse(what, text, "has a number no server writes"));
        }
        Ok(FileName {
            basename: basename.parse()?,
            number: SegmentNumber(number),
        })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.basename, self.number.0)
    }
}

/// The name of a segment in the mount. Sorted as text, in any locale, mount names are in replay order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountName(CompactString);
text_type!(MountName);

impl MountName {
    /// The one function that names a segment in the mount.
    ///
    /// The server's own name is kept where it sorts right: in the timeline's first incarnation, under the stream's
    /// first basename, while the number has six digits. All others are `<first basename>.999999.<incarnation>.<number>`
    /// with digits only, because locales disagree on how letters and digits sort (cs_CZ puts `i` before `0`), and fixed
    /// widths, because `binlog.1000000` sorts before `binlog.999999`.
    pub fn of(
        file: &FileName,
        incarnation: Incarnation,
        first_of_timeline: bool,
        first_basename: &Basename,
    ) -> MountName {
        if first_of_timeline && file.number.0 <= 999_999 && file.basename == *first_basename {
            return MountName(format_compact!("{file}"));
        }
        MountName(format_compact!(
            "{first_basename}.999999.{:06}.{:010}",
            incarnation.0,
            file.number.0
        ))
    }

    /// The name of the entry that stands for an unknown extent of missing history right after `self`.
    ///
    /// It sorts after `self` and before every later segment in every locale: names of one width differ before it, and
    /// what follows `binlog.999999` has more zeroes.
    pub fn gap_after(&self) -> MountName {
        MountName(format_compact!("{}.0", self.0))
    }

    /// Whether this is a name that [`MountName::gap_after`] makes.
    pub fn is_gap(&self) -> bool {
        self.0.ends_with(".0")
    }

    /// What sorts right before the names of `incarnation`, of which this is one; `None` where those are the server's own.
    pub fn before_incarnation(&self, incarnation: Incarnation) -> Option<MountName> {
        let mark = format!(".999999.{:06}.", incarnation.0);
        let at = self.0.rfind(&mark)?;
        Some(MountName(self.0[..at + mark.len()].into()))
    }

    /// A name that sorts before every segment of a stream.
    pub fn before_all(first_basename: &Basename) -> MountName {
        MountName(format_compact!("{first_basename}.000000.0"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MountName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_component("mount name", text, FILE_NAME_MAX_BYTES)?;
        Ok(MountName(text.into()))
    }
}

impl fmt::Display for MountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of an object, relative to the stream's prefix: components separated by single slashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);
text_type!(ObjectKey);

impl ObjectKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ObjectKey {
    /// What the key is in a larger store, in which its stream is at `dir`.
    ///
    /// # Errors
    /// When that is too long for a key.
    pub fn below(&self, dir: &ObjectKey) -> Result<ObjectKey, NameError> {
        format!("{dir}/{self}").parse()
    }
}

impl FromStr for ObjectKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let what = "object key";
        if text.len() > KEY_MAX_BYTES {
            return Err(refuse(what, text, "is too long"));
        }
        for part in text.split('/') {
            check_component(what, part, FILE_NAME_MAX_BYTES).map_err(|e| NameError {
                name: text.chars().take(300).collect(),
                ..e
            })?;
        }
        Ok(ObjectKey(text.to_owned()))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> FileName {
        text.parse().expect("a file name")
    }

    #[test]
    fn file_names_are_those_a_server_writes() {
        assert_eq!(file("mysql-bin.000042").number(), SegmentNumber(42));
        assert_eq!(file("binlog.1000000").number(), SegmentNumber(1_000_000));
        assert_eq!(file("a.b.2147483647").to_string(), "a.b.2147483647");
        for bad in [
            "binlog.00042",
            "binlog.0000042",
            "binlog.2147483648",
            "binlog",
            ".000001",
            "a/b.000001",
            "binlog.index",
            "binlog.~rec~",
            "../../etc/passwd",
            "binlog\0.000001",
            "binlog.00000x",
            "",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
        assert!(
            format!("{}.000001", "x".repeat(300))
                .parse::<FileName>()
                .is_err()
        );
    }

    #[test]
    fn keys_cannot_leave_the_prefix() {
        assert!(
            "segments/binlog.000001-00.zst.age"
                .parse::<ObjectKey>()
                .is_ok()
        );
        for bad in ["../x", "a/../b", "/a", "a/", "a//b", "a/./b", "a\0b", ""] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?}");
        }
    }

    /// The name of a file of an incarnation, of which the first has the names of its server.
    fn mounted(text: &str, incarnation: u32, first: &Basename) -> MountName {
        MountName::of(
            &file(text),
            Incarnation(incarnation),
            incarnation == 1,
            first,
        )
    }

    #[test]
    fn mount_names_sort_in_replay_order_across_rollover_join_and_another_basename() {
        let first: Basename = "mysql-bin".parse().expect("a basename");
        let name = |text: &str, incarnation| mounted(text, incarnation, &first).to_string();
        let names = [
            name("mysql-bin.000001", 1),
            name("mysql-bin.999999", 1),
            name("mysql-bin.1000000", 1),
            name("mysql-bin.10000000", 1),
            name("mysql-bin.000001", 2),
            name("binlog.000001", 3),
            name("binlog.000002", 3),
        ];
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names[2], "mysql-bin.999999.000001.0001000000");
    }

    #[test]
    fn what_sorts_before_an_incarnation_is_told_by_each_of_its_names() {
        let first: Basename = "binlog".parse().expect("a basename");
        let name = |text: &str, incarnation| mounted(text, incarnation, &first);
        let (last_of_1, first_of_2) = (name("binlog.000007", 1), name("binlog.000001", 2));
        for named in [
            &first_of_2,
            &name("binlog.000009", 2),
            &first_of_2.gap_after(),
        ] {
            let border = named
                .before_incarnation(Incarnation(2))
                .expect("it is not the server's own");
            assert!(
                last_of_1.gap_after() < border && border < first_of_2,
                "{border}"
            );
        }
        assert_eq!(last_of_1.before_incarnation(Incarnation(1)), None);
    }

    #[test]
    fn a_gap_sorts_between_its_neighbours() {
        let first: Basename = "binlog".parse().expect("a basename");
        let at = |text: &str| MountName::of(&file(text), Incarnation(1), true, &first);
        assert!(at("binlog.000007") < at("binlog.000007").gap_after());
        assert!(at("binlog.000007").gap_after() < at("binlog.000008"));
        assert!(at("binlog.999999").gap_after() < at("binlog.1000000"));
    }
}
