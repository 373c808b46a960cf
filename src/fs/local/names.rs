//! Which of a server's files come after the archived history, and what the archive will call them. Pure.
//!
//! The rules are the archiver's (`sync/place.rs`), as far as they concern a server whose last archived file is followed by
//! more files of the same numbering. Everything else is [`Strange`]: it is the archiver's to find a place for it.

use crate::model::{Basename, FileName, GtidSet, Incarnation, MountName, SegmentNumber, Sha256};
use uuid::Uuid;

/// Missing files that are shown one by one; more are one entry, as an unknown extent is.
const MISSING_MAX: u64 = 1000;

/// The end of the archived history.
#[derive(Clone, Debug)]
pub(super) struct Archived {
    /// The stream's first basename.
    pub basename: Basename,
    /// Its last segment, if there is one.
    pub last: Option<LastSegment>,
}

/// The last segment, and how far the numbering was followed beyond it.
#[derive(Clone, Debug)]
pub(super) struct LastSegment {
    /// The server's name for it.
    pub file: FileName,
    /// What its first events hash to.
    pub head: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// Its server, where known.
    pub server_uuid: Option<Uuid>,
    /// The GTIDs in it.
    pub gtids: GtidSet,
    /// The number of the last entry: holes may follow the segment.
    pub last_number: SegmentNumber,
}

/// What the head of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    /// What its first events hash to.
    pub head: Sha256,
    /// PREVIOUS_GTIDS.
    pub previous: Option<GtidSet>,
    /// The file's size in bytes now.
    pub size: u64,
}

/// A file that was shown before: what is listed now must go on from it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The server's name for it.
    pub file: FileName,
    /// Its head.
    pub head: FileHead,
}

/// What the server lists.
#[derive(Clone, Debug)]
pub(super) struct Listed<'a> {
    /// The names, in its order.
    pub files: &'a [FileName],
    /// Its UUID, where known.
    pub server_uuid: Option<Uuid>,
}

/// One name after the archived ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its name in the mount.
    pub name: MountName,
    /// The server's name for it.
    pub file: FileName,
    /// Where it is in the list; `None` if it is missing.
    pub at: Option<usize>,
}

/// Files that do not simply go on from the archived history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Strange {
    /// Another file has the name of one that is known.
    #[error(
        "{file} is another file than the one of that name in the history: the binlogs were reset, or are another server's; archive them \
         ('binlogfs archive' finds their place) and mount again"
    )]
    Other {
        /// The file.
        file: FileName,
    },
    /// The numbers are not after the known ones.
    #[error(
        "the history ends with {last}, and the server lists {first} to {newest}: its binlogs were reset, it was restored, or it is another \
         server; archive them ('binlogfs archive' finds their place) and mount again"
    )]
    Behind {
        /// The last file known.
        last: FileName,
        /// The first listed.
        first: FileName,
        /// The last listed.
        newest: FileName,
    },
    /// Nothing shows that they continue it.
    #[error(
        "nothing shows that {first} continues the history, which ends with {last}: another server_uuid, or GTIDs that do not contain those \
         archived; archive the server ('binlogfs archive' finds its place) and mount again"
    )]
    Unproven {
        /// The last file known.
        last: FileName,
        /// The first listed.
        first: FileName,
    },
}

/// Names the files that come after `archived`. `head_of` gives the head of a listed file, if it can be read.
///
/// # Errors
/// [`Strange`]; or as `head_of` fails.
pub(super) fn after<E: From<Strange>>(
    archived: &Archived,
    shown: Option<&Shown>,
    listed: &Listed<'_>,
    mut head_of: impl FnMut(usize) -> Result<Option<FileHead>, E>,
) -> Result<Vec<Named>, E> {
    if let Some(shown) = shown {
        goes_on(&shown.file, &shown.head, None, listed, &mut head_of)?;
    }
    let Some(last) = &archived.last else {
        let name = |file: &FileName| MountName::of(file, Incarnation(1), true, &archived.basename);
        let all = listed.files.iter().enumerate();
        return Ok(all
            .map(|(at, file)| Named {
                name: name(file),
                file: file.clone(),
                at: Some(at),
            })
            .collect());
    };
    let known = FileHead {
        head: last.head,
        previous: None,
        size: last.size,
    };
    if !goes_on(&last.file, &known, Some(last.size), listed, &mut head_of)? {
        proven(last, listed, &mut head_of)?;
    }
    let of_first = |first| MountName::of(&last.file, last.incarnation, first, &archived.basename);
    let first_of_timeline = of_first(true) == last.mount_name;
    let name = |file: &FileName| {
        MountName::of(
            file,
            last.incarnation,
            first_of_timeline,
            &archived.basename,
        )
    };
    let mut named = Vec::new();
    let mut next = last.last_number.0 + 1;
    let new = listed.files.iter().enumerate();
    for (at, file) in new.filter(|(_, file)| file.number() > last.last_number) {
        let number = file.number().0;
        if number.saturating_sub(next) > MISSING_MAX {
            let before = FileName::new(file.basename().clone(), SegmentNumber(next - 1));
            named.push(Named {
                name: name(&before).gap_after(),
                file: before,
                at: None,
            });
            next = number;
        }
        let missing =
            (next..number).map(|n| FileName::new(file.basename().clone(), SegmentNumber(n)));
        named.extend(missing.map(|file| Named {
            name: name(&file),
            file,
            at: None,
        }));
        named.push(Named {
            name: name(file),
            file: file.clone(),
            at: Some(at),
        });
        next = number + 1;
    }
    Ok(named)
}

/// Whether `file`, with its head, is still listed. Fails if another has its name, or if what is listed is not after it.
///
/// `size` is that of a file that was closed: heads are stamped to the second, and a RESET within the second in which the
/// file was begun makes another with the same.
fn goes_on<E: From<Strange>>(
    file: &FileName,
    head: &FileHead,
    size: Option<u64>,
    listed: &Listed<'_>,
    head_of: &mut impl FnMut(usize) -> Result<Option<FileHead>, E>,
) -> Result<bool, E> {
    let (Some(first), Some(newest)) = (listed.files.first(), listed.files.last()) else {
        return Ok(false);
    };
    if let Some(at) = listed.files.iter().position(|listed| listed == file) {
        let now = head_of(at)?;
        let same = match &now {
            Some(now) => now.head == head.head && size.is_none_or(|size| size == now.size),
            // It is gone in this moment: the next look finds out.
            None => true,
        };
        return match same {
            true => Ok(true),
            false => Err(Strange::Other { file: file.clone() }.into()),
        };
    }
    if first.basename() != file.basename() || first.number() < file.number() {
        return Err(Strange::Behind {
            last: file.clone(),
            first: first.clone(),
            newest: newest.clone(),
        }
        .into());
    }
    if let (Some(previous), Some(now)) = (&head.previous, head_of(0)?)
        && let Some(now) = &now.previous
        && !previous.is_subset(now)
    {
        return Err(Strange::Unproven {
            last: file.clone(),
            first: first.clone(),
        }
        .into());
    }
    Ok(false)
}

/// Whether files that begin after the last segment continue it.
fn proven<E: From<Strange>>(
    last: &LastSegment,
    listed: &Listed<'_>,
    head_of: &mut impl FnMut(usize) -> Result<Option<FileHead>, E>,
) -> Result<(), E> {
    let Some(first) = listed.files.first() else {
        return Ok(());
    };
    let previous = head_of(0)?.and_then(|head| head.previous);
    let contains = previous
        .as_ref()
        .map(|previous| last.gtids.is_subset(previous));
    let same_server = match (last.server_uuid, listed.server_uuid) {
        (Some(then), Some(now)) => Some(then == now),
        _ => None,
    };
    let shows = !last.gtids.is_empty() && contains == Some(true);
    match (same_server, contains) {
        (Some(false), _) | (_, Some(false)) => {}
        (Some(true), _) => return Ok(()),
        (None, _) if shows => return Ok(()),
        (None, _) => {}
    }
    Err(Strange::Unproven {
        last: last.file.clone(),
        first: first.clone(),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn file(number: u64) -> FileName {
        format!("binlog.{number:06}").parse().expect("a name")
    }

    fn gtids(through: u64) -> GtidSet {
        match through {
            0 => GtidSet::new(),
            n => format!("{UUID}:1-{n}").parse().expect("a set"),
        }
    }

    /// The head of file `number` in the life `life` of a server that commits ten transactions a file.
    fn head(life: u8, number: u64) -> FileHead {
        FileHead {
            head: Sha256::of(&[life, number as u8]),
            previous: Some(gtids((number - 1) * 10)),
            size: 1000 + number,
        }
    }

    fn archived(number: u64, last_number: u64) -> Archived {
        let name = file(number);
        let basename: Basename = "binlog".parse().expect("a name");
        Archived {
            last: Some(LastSegment {
                head: head(1, number).head,
                size: head(1, number).size,
                incarnation: Incarnation(1),
                mount_name: MountName::of(&name, Incarnation(1), true, &basename),
                server_uuid: Some(Uuid::from_u128(1)),
                gtids: gtids(number * 10),
                last_number: SegmentNumber(last_number),
                file: name,
            }),
            basename,
        }
    }

    /// What comes after `archived` when a server in `life` lists `numbers`: names, missing ones with a question mark.
    fn come(
        archived: &Archived,
        shown: Option<u64>,
        life: u8,
        uuid: Option<u128>,
        numbers: std::ops::RangeInclusive<u64>,
    ) -> Result<Vec<String>, Strange> {
        let files: Vec<FileName> = numbers.map(file).collect();
        let listed = Listed {
            files: &files,
            server_uuid: uuid.map(Uuid::from_u128),
        };
        let shown = shown.map(|number| Shown {
            file: file(number),
            head: head(1, number),
        });
        let head_of = |at: usize| Ok::<_, Strange>(Some(head(life, files[at].number().0)));
        let named = after(archived, shown.as_ref(), &listed, head_of)?;
        let mark = |named: Named| match named.at {
            Some(at) => {
                assert_eq!(files[at], named.file);
                named.name.to_string()
            }
            None => format!("{}?", named.name),
        };
        Ok(named.into_iter().map(mark).collect())
    }

    #[test]
    fn files_after_the_last_archived_one_come_in_order() {
        let names = come(&archived(3, 3), None, 1, Some(1), 2..=5).expect("it continues");
        assert_eq!(names, ["binlog.000004", "binlog.000005"]);
        let none = come(&archived(3, 3), None, 1, Some(1), 1..=3).expect("it continues");
        assert!(none.is_empty());
        let all = Archived {
            last: None,
            ..archived(1, 1)
        };
        let names = come(&all, None, 1, None, 1..=2).expect("nothing to contradict");
        assert_eq!(names, ["binlog.000001", "binlog.000002"]);
    }

    #[test]
    fn what_was_purged_before_it_was_archived_is_missing() {
        let names = come(&archived(3, 3), None, 1, Some(1), 6..=6).expect("it continues");
        assert_eq!(names, ["binlog.000004?", "binlog.000005?", "binlog.000006"]);
        let names = come(&archived(3, 5), None, 1, Some(1), 6..=6).expect("holes are known");
        assert_eq!(names, ["binlog.000006"]);
        let names = come(&archived(3, 3), None, 1, Some(1), 2000..=2000).expect("it continues");
        assert_eq!(names, ["binlog.000003.0?", "binlog.002000"]);
    }

    #[test]
    fn names_are_those_that_the_archive_gives_beyond_a_million_and_in_a_later_incarnation() {
        let names = come(
            &archived(999_999, 999_999),
            None,
            1,
            Some(1),
            999_999..=1_000_000,
        );
        let names = names.expect("it continues");
        assert_eq!(names, ["binlog.999999.000001.0001000000"]);
        let mut later = archived(3, 3);
        let last = later.last.as_mut().expect("there");
        last.incarnation = Incarnation(2);
        last.mount_name = MountName::of(&file(3), Incarnation(2), false, &later.basename);
        let names = come(&later, None, 1, Some(1), 3..=4).expect("it continues");
        assert_eq!(names, ["binlog.999999.000002.0000000004"]);
    }

    #[test]
    fn a_reset_and_another_server_are_told_apart_from_a_continuation() {
        let strange = |shown, life, uuid, numbers| {
            come(&archived(3, 3), shown, life, uuid, numbers).expect_err("strange")
        };
        assert!(matches!(
            strange(None, 2, Some(1), 1..=5),
            Strange::Other { .. }
        ));
        assert!(matches!(
            strange(None, 2, Some(1), 1..=2),
            Strange::Behind { .. }
        ));
        assert!(matches!(
            strange(None, 1, Some(2), 4..=5),
            Strange::Unproven { .. }
        ));
        assert!(matches!(
            strange(Some(5), 1, Some(1), 3..=4),
            Strange::Behind { .. }
        ));
        assert!(matches!(
            strange(Some(4), 2, Some(1), 4..=4),
            Strange::Other { .. }
        ));
        // PURGE after archiving is none of them.
        assert!(come(&archived(3, 3), Some(3), 1, Some(1), 4..=5).is_ok());
        assert!(
            come(&archived(3, 3), None, 1, None, 4..=5).is_ok(),
            "by GTIDs"
        );
    }
}
