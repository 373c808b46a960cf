//! The view's answers about extended attributes.

use super::hidden::edge_seq;
use super::made::Made;
use super::tree::Node;
use super::view::{Errno, View};
use super::views::Shown;
use super::xattr::{self, Answer};
use crate::model::Seq;
use std::ffi::OsStr;
use std::sync::Arc;

/// What the log says of attributes that the index does not tell in time.
const FAILED: &str = "cannot tell extended attributes";

impl View {
    /// getxattr(2).
    ///
    /// # Errors
    /// As `View::entry`; ETIMEDOUT; directories have none.
    pub async fn xattr(
        self: Arc<Self>,
        ino: u64,
        name: &OsStr,
        size: u32,
    ) -> Result<Answer, Errno> {
        let name = name.to_str().filter(|name| xattr::is_ours(name));
        let answer = async {
            if let (Some(Node::Made(made)), Some(name)) = (Node::of_ino(ino), name) {
                return self.made_xattr(made, Some(name), size).await;
            }
            let seq = Node::of_ino(ino).and_then(record_of);
            match name.zip(seq) {
                Some((name, seq)) => Ok(xattr::get(&self.entry(seq).await?, name, size)),
                None => Ok(Answer::Absent),
            }
        };
        self.in_time(FAILED, answer).await
    }

    /// listxattr(2).
    ///
    /// # Errors
    /// As `View::entry`; ETIMEDOUT; directories have none.
    pub async fn xattrs(self: Arc<Self>, ino: u64, size: u32) -> Result<Answer, Errno> {
        let answer = async {
            if let Some(Node::Made(made)) = Node::of_ino(ino) {
                return self.made_xattr(made, None, size).await;
            }
            match Node::of_ino(ino).and_then(record_of) {
                Some(seq) => Ok(xattr::list(&self.entry(seq).await?, size)),
                None => Ok(xattr::nothing(size)),
            }
        };
        self.in_time(FAILED, answer).await
    }

    /// The extended attributes of what was made on demand: of a file those that hold for any part of it.
    async fn made_xattr(&self, made: Made, name: Option<&str>, size: u32) -> Result<Answer, Errno> {
        let (Made::First(id) | Made::Last(id)) = made else {
            return Ok(match name {
                Some(_) => Answer::Absent,
                None => xattr::nothing(size),
            });
        };
        let Shown::Part(_, from, to) = self.shown(id)? else {
            return Err(libc::ESTALE);
        };
        let last = made == Made::Last(id);
        let seq = edge_seq(from.as_ref(), &to, last).ok_or(libc::ESTALE)?;
        let entry = self.entry(seq).await?;
        Ok(match name {
            Some(name) => xattr::get_of_part(&entry, name, size),
            None => xattr::list_of_part(&entry, size),
        })
    }
}

/// The record of what has one.
fn record_of(node: Node) -> Option<Seq> {
    match node {
        Node::File(seq) | Node::RawFile(seq) => Some(seq),
        Node::Root
        | Node::RootRaw
        | Node::Timelines
        | Node::Timeline(_)
        | Node::Raw(_)
        | Node::Made(_) => None,
    }
}
