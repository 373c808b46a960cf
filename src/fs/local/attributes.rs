//! The extended attributes of local files: those of archived ones, as far as they are known.

use super::disk::blocking;
use super::file::{Known, LocalFile};
use super::place::{Origin, is_local};
use super::{Union, lock};
use crate::fs::deadline::Left;
use crate::fs::view::Errno;
use crate::fs::xattr::{self, Answer};
use std::ffi::OsStr;
use std::sync::Arc;

/// What the log says of attributes that do not come in time.
const FAILED: &str = "cannot tell extended attributes";

/// Who knows the extended attributes of an inode.
enum Whose {
    /// The view, under this number.
    View(u64),
    /// Its file.
    Local(Arc<LocalFile>),
}

impl Union {
    /// getxattr(2).
    ///
    /// # Errors
    /// As of a view; ETIMEDOUT if the server's disk does not answer.
    pub async fn xattr(
        self: Arc<Self>,
        ino: u64,
        name: &OsStr,
        size: u32,
    ) -> Result<Answer, Errno> {
        let left = self.looked_at(ino).await?;
        let answer = async {
            match self.whose(ino).await? {
                Whose::View(ino) => Arc::clone(&self.view).xattr(ino, name, size).await,
                Whose::Local(file) => match name.to_str().filter(|name| xattr::is_ours(name)) {
                    Some(name) => {
                        let known = self.attributes(file).await?;
                        Ok(xattr::get_known(&known, name, size))
                    }
                    None => Ok(Answer::Absent),
                },
            }
        };
        left.bound(FAILED, answer).await
    }

    /// listxattr(2).
    ///
    /// # Errors
    /// As of a view; ETIMEDOUT if the server's disk does not answer.
    pub async fn xattrs(self: Arc<Self>, ino: u64, size: u32) -> Result<Answer, Errno> {
        let left = self.looked_at(ino).await?;
        let answer = async {
            match self.whose(ino).await? {
                Whose::View(ino) => Arc::clone(&self.view).xattrs(ino, size).await,
                Whose::Local(file) => Ok(xattr::list_known(&self.attributes(file).await?, size)),
            }
        };
        left.bound(FAILED, answer).await
    }

    /// Looks at the list: between two looks the active file may have been closed. What is left of the call's time.
    async fn looked_at(self: &Arc<Self>, ino: u64) -> Result<Left, Errno> {
        let Some(before) = self.before_attr(ino) else {
            return Ok(Left::all());
        };
        let left = Left::of(self.patience);
        before.await?;
        Ok(left)
    }

    /// Who knows the attributes of `ino`.
    async fn whose(&self, ino: u64) -> Result<Whose, Errno> {
        if !is_local(ino) {
            return Ok(Whose::View(ino));
        }
        let name = lock(&self.numbers).name_of_ino(ino).ok_or(libc::ESTALE)?;
        Ok(match self.local(&name) {
            Some(file) => Whose::Local(file),
            None => Whose::View(self.archived(&name).await?.ino),
        })
    }

    async fn attributes(&self, file: Arc<LocalFile>) -> Result<Vec<(&'static str, String)>, Errno> {
        let origin = self.state().origin;
        let looking = blocking(move || {
            let known = file.known().unwrap_or_else(|error| {
                tracing::debug!(name = %file.name, %error, "attributes of a local binlog are not known");
                Known::default()
            });
            Ok(attributes(&file, origin, known))
        });
        match tokio::time::timeout(self.patience, looking).await {
            Err(_) => Err(libc::ETIMEDOUT),
            Ok(known) => known.map_err(|_| libc::EIO),
        }
    }
}

/// All of them, without their prefix, in the order of the archived ones.
fn attributes(file: &LocalFile, origin: Origin, known: Known) -> Vec<(&'static str, String)> {
    let state = match (file.is_missing(), file.is_active()) {
        (true, _) => "missing",
        (false, true) => "active",
        (false, false) => "closed",
    };
    // Who wrote what is not there is not known.
    let server_uuid = origin.server_uuid.filter(|_| !file.is_missing());
    let all = [
        ("file", Some(file.file.to_string())),
        ("gtid_set", known.gtids.map(|set| set.to_string())),
        (
            "previous_gtids",
            known.previous_gtids.map(|set| set.to_string()),
        ),
        ("first_time", known.first_time.map(|time| time.to_string())),
        ("last_time", known.last_time.map(|time| time.to_string())),
        ("server_uuid", server_uuid.map(|uuid| uuid.to_string())),
        ("incarnation", Some(origin.incarnation.to_string())),
        ("timeline", Some(origin.timeline.to_string())),
        ("state", Some(state.to_owned())),
    ];
    let known = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.collect()
}
