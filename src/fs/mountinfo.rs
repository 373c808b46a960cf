//! What is mounted where, without touching it: `/proc/self/mountinfo` (proc(5)). Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel tells it.
pub const PATH: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its id, unique while it is mounted.
    pub id: u64,
    /// The id of the mount that it is mounted on.
    pub parent: u64,
    /// Minor number of its device; FUSE mounts have major 0.
    pub minor: u32,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its file system, such as `fuse.binlogfs`.
    pub fs_type: String,
    /// What is mounted.
    pub source: OsString,
}

/// Reads the table. Lines that are not as documented are left out.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|b| *b == b'\n').filter_map(line).collect()
}

/// The uppermost mount at `path`, if one is there.
pub fn at<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.mount_point == path)
}

/// Whether anything is mounted on `id`.
pub fn is_covered(mounts: &[Mount], id: u64) -> bool {
    mounts
        .iter()
        .any(|mount| mount.parent == id && mount.id != id)
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let id = text()?.parse().ok()?;
    let parent = text()?.parse().ok()?;
    let minor = text()?.split_once(':')?.1.parse().ok()?;
    let mount_point = fields.nth(1)?;
    // Optional fields, as many as there are, end with a lone dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fs_type = String::from_utf8(rest.next()?.to_vec()).ok()?;
    let source = rest.next()?;
    Some(Mount {
        id,
        parent,
        minor,
        mount_point: unescape(mount_point).into(),
        fs_type,
        source: unescape(source),
    })
}

/// Undoes `\040`: space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let digits = field.get(at + 1..at + 4);
        let octal = digits
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] =
        b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        90 22 0:57 / /mnt/my\\040logs ro,nosuid,nodev shared:2 master:3 - fuse.binlogfs s3://b/p,q ro,user_id=0\n\
        91 90 0:58 / /mnt/my\\040logs rw - tmpfs none rw\n\
        garbage\n";

    #[test]
    fn mounts_are_read_with_their_escapes_and_optional_fields() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 3);
        let ours = &mounts[1];
        assert_eq!((ours.id, ours.parent, ours.minor), (90, 22, 57));
        assert_eq!(ours.mount_point, Path::new("/mnt/my logs"));
        assert_eq!(ours.fs_type, "fuse.binlogfs");
        assert_eq!(ours.source, "s3://b/p,q");
    }

    #[test]
    fn the_uppermost_mount_is_found_and_a_covered_one_is_known() {
        let mounts = parse(TABLE);
        let top = at(&mounts, Path::new("/mnt/my logs")).expect("there");
        assert_eq!(top.fs_type, "tmpfs");
        assert!(is_covered(&mounts, 90));
        assert!(!is_covered(&mounts, 91));
        assert!(at(&mounts, Path::new("/mnt")).is_none());
    }

    #[test]
    fn no_table_panics() {
        for end in 0..TABLE.len() {
            parse(&TABLE[..end]);
        }
        parse(b"1 2 3:4 5 \\ - \\04 \\777\n\\");
    }
}
