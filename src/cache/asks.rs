//! Whom to ask for bytes that are proven when they come: the store, the store once more, then each of its copies.

use crate::model::ObjectKey;
use crate::store::{CopyReason, SharedStore};

/// Gets from the store itself before bytes that are wrong count as damaged: a reply can be damaged on its way.
const ATTEMPTS: usize = 2;

/// One store to ask.
pub(super) struct Ask {
    /// The store.
    pub(super) store: SharedStore,
    /// What it is a copy of, if it is one.
    first: Option<SharedStore>,
}

impl Ask {
    /// Notes that what came from there was right, after what came from those before was wrong.
    pub(super) fn proven(&self, key: &ObjectKey) {
        if let Some(copies) = self.first.as_ref().and_then(|first| first.copies()) {
            copies.served(CopyReason::Damaged, key, &self.store);
        }
    }

    /// Whether it is a copy.
    pub(super) fn is_copy(&self) -> bool {
        self.first.is_some()
    }
}

/// Whom to ask, in this order, until what comes is right.
pub(super) fn asks(store: &SharedStore) -> Vec<Ask> {
    let itself = || Ask {
        store: store.clone(),
        first: None,
    };
    let copies = store
        .copies()
        .into_iter()
        .flat_map(|copies| copies.stores());
    let copies = copies.map(|copy| Ask {
        store: copy.clone(),
        first: Some(store.clone()),
    });
    std::iter::repeat_with(itself)
        .take(ATTEMPTS)
        .chain(copies)
        .collect()
}
