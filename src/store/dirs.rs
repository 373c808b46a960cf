//! The names between slashes: what looks like a directory in a store that has none.

use super::{Result, Store};
use crate::model::ObjectKey;

/// What sorts just behind a slash: a key made with it comes after all that are below a name.
const AFTER_SLASH: char = '0';

/// [`Store::list_dirs`] with nothing but [`Store::list`]: each page is begun behind the directory that the last one ended in,
/// so that it costs a page for each name and not one for each thousand keys.
pub(super) async fn by_listing<S: Store + ?Sized>(
    store: &S,
    prefix: &str,
    max: usize,
) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = store.list(prefix, after.as_ref()).await?;
        for (key, _) in &page.objects {
            let Some(name) = name_below(prefix, key) else {
                continue;
            };
            if names.last().is_some_and(|last| last == name) {
                continue;
            }
            if names.len() >= max {
                return Ok(names);
            }
            names.push(name.to_owned());
        }
        match page.objects.last() {
            Some((last, _)) if page.more => after = Some(behind(prefix, last)),
            Some(_) | None => return Ok(names),
        }
    }
}

/// The directory right below `prefix` that `key` is in.
fn name_below<'k>(prefix: &str, key: &'k ObjectKey) -> Option<&'k str> {
    let rest = key.as_str().strip_prefix(prefix)?;
    Some(rest.split_once('/')?.0)
}

/// A key after everything in the directory of `key`.
fn behind(prefix: &str, key: &ObjectKey) -> ObjectKey {
    let skipped = name_below(prefix, key)
        .and_then(|name| format!("{prefix}{name}{AFTER_SLASH}").parse().ok());
    // A name too long for one more character: its keys are passed page by page.
    skipped.unwrap_or_else(|| key.clone())
}

/// A name that a server lists as a directory, if it can be part of a key of ours.
pub(super) fn valid(name: &str) -> Option<String> {
    let is_component = !name.contains('/') && name.parse::<ObjectKey>().is_ok();
    is_component.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, RecordingStore};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_directory_of_any_number_of_keys_costs_a_page() {
        let memory = MemoryStore::new();
        for dir in ["p/a", "p/a-b", "p/b", "q/c"] {
            for n in 0..2500 {
                let key = format!("{dir}/{n:04}").parse().expect("a key");
                memory.tamper(&key, "");
            }
        }
        let store = RecordingStore::new(Arc::new(memory));
        let names = by_listing(&store, "p/", 10).await.expect("lists");
        assert_eq!(names, ["a-b", "a", "b"]);
        assert_eq!(store.total("list").calls, 4);
        assert_eq!(by_listing(&store, "", 1).await.expect("lists"), ["p"]);
    }
}
