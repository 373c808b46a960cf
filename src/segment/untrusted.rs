//! Bytes from outside, which can be used for nothing but comparing their SHA-256.

use crate::model::Sha256;
use std::ops::Deref;

/// Inner bytes of an object as they came, decrypted or not.
pub(super) struct Untrusted<'a>(&'a [u8]);

/// Inner bytes whose SHA-256 is the one that the ledger record vouches for, directly or through the tail.
pub(super) struct Proven<'a>(&'a [u8]);

impl<'a> Untrusted<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Untrusted(bytes)
    }

    /// The bytes, if they are the expected ones.
    pub(super) fn prove(self, expected: &Sha256) -> Option<Proven<'a>> {
        (Sha256::of(self.0) == *expected).then_some(Proven(self.0))
    }
}

impl Proven<'_> {
    /// The bytes on their own.
    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl Deref for Proven<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}
