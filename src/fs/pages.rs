//! Pages that the kernel may have of a file that is opened past its page cache: who maps it (mmap(2)) makes them, and they stay.
//!
//! A damaged file is opened past the page cache, and so is one that grows. Pages of them that a mapping made are not what a
//! better copy, or the closed file, has there: they have other bytes, or zeros behind the end. So what was opened past the page
//! cache is opened that way again for as long as such an opening lives, which a mapping of it keeps alive; after that its pages
//! are dropped whenever it is opened, until one that was opened so is closed: by then the kernel has dropped them.

use super::open_files::Caching;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Inodes that are remembered, beside those that are open. Beyond that, pages are dropped of whatever is opened for the first time
/// after it: a mount beside a server opens a file that grows at each rotation, and lives for months.
const INODES_MAX: usize = 10_000;

/// Which inodes have such pages, of all that a mount shows, by the numbers that the kernel knows.
#[derive(Default)]
pub(super) struct Pages(Mutex<Inodes>);

#[derive(Default)]
struct Inodes {
    /// Openings past the page cache that live, of each inode that has had any.
    past: HashMap<u64, u64>,
    /// Whether some were left out.
    is_partial: bool,
    /// Those that have none for sure, since some were left out.
    clean: HashSet<u64>,
}

impl Pages {
    /// A file is opened that the kernel may treat as `wanted` for its own sake: how it may after what it was opened as before.
    pub(super) fn opened(&self, ino: u64, wanted: Caching) -> Caching {
        let mut inodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let caching = match (wanted, inodes.past.get(&ino)) {
            (Caching::Never, _) => Caching::Never,
            (Caching::Keep | Caching::Anew, Some(0)) => Caching::Anew,
            (Caching::Keep | Caching::Anew, Some(_)) => Caching::Never,
            (Caching::Keep, None) if !inodes.is_partial || inodes.clean.contains(&ino) => {
                Caching::Keep
            }
            (Caching::Keep | Caching::Anew, None) => Caching::Anew,
        };
        if caching == Caching::Never {
            inodes.clean.remove(&ino);
            if inodes.past.len() >= INODES_MAX && !inodes.past.contains_key(&ino) {
                inodes.past.retain(|_, living| *living > 0);
                inodes.is_partial = true;
            }
            *inodes.past.entry(ino).or_default() += 1;
        }
        caching
    }

    /// A file is closed, and no mapping of it is left, that was opened as `caching`.
    pub(super) fn closed(&self, ino: u64, caching: Caching) {
        let mut inodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match caching {
            Caching::Keep => {}
            Caching::Never => {
                if let Some(living) = inodes.past.get_mut(&ino) {
                    *living = living.saturating_sub(1);
                }
            }
            Caching::Anew => {
                if inodes.past.get(&ino) == Some(&0) {
                    inodes.past.remove(&ino);
                }
                if inodes.is_partial && !inodes.past.contains_key(&ino) {
                    if inodes.clean.len() >= INODES_MAX {
                        inodes.clean.clear();
                    }
                    inodes.clean.insert(ino);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Caching::{Anew, Keep, Never};

    #[test]
    fn pages_are_kept_again_when_nobody_can_make_wrong_ones_and_those_that_were_are_dropped() {
        let pages = Pages::default();
        assert_eq!(pages.opened(1, Keep), Keep);
        assert_eq!(pages.opened(2, Never), Never);
        assert_eq!(pages.opened(2, Never), Never);
        pages.closed(2, Never);
        // A better copy is there, and the other one may still be mapped.
        assert_eq!(pages.opened(2, Keep), Never);
        pages.closed(2, Never);
        assert_eq!(pages.opened(2, Keep), Never);
        pages.closed(2, Never);
        pages.closed(2, Never);
        // Of two that are opened at once neither knows whether the other's opening has dropped them already.
        assert_eq!(pages.opened(2, Keep), Anew);
        assert_eq!(pages.opened(2, Keep), Anew);
        pages.closed(2, Anew);
        assert_eq!(pages.opened(2, Keep), Keep);
        pages.closed(2, Anew);
        assert_eq!(pages.opened(2, Keep), Keep);
        assert_eq!(pages.opened(1, Keep), Keep);
    }

    #[test]
    fn it_is_bounded_and_what_it_forgets_has_its_pages_dropped() {
        let pages = Pages::default();
        pages.opened(0, Never);
        for ino in 1..3 * INODES_MAX as u64 {
            pages.opened(ino, Never);
            pages.closed(ino, Never);
        }
        let held = pages.0.lock().expect("sound").past.len();
        assert!(held <= INODES_MAX, "{held}");
        assert_eq!(pages.opened(0, Keep), Never, "it is open");
        assert_eq!(pages.opened(1, Keep), Anew);
        // Once: what a mount of months shows is kept again.
        pages.closed(1, Anew);
        assert_eq!(pages.opened(1, Keep), Keep);
        assert_eq!(pages.opened(1, Never), Never);
        pages.closed(1, Never);
        assert_eq!(pages.opened(1, Keep), Anew);
        for ino in 1..3 * INODES_MAX as u64 {
            pages.closed(ino, Anew);
        }
        let held = pages.0.lock().expect("sound").clean.len();
        assert!(held <= INODES_MAX, "{held}");
    }
}
