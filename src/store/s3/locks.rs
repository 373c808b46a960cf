//! The requests about Object Lock and versions, each once and without retries.

use super::bucket::{Bucket, about};
use super::terms::date;
use crate::model::{Micros, ObjectKey};
use crate::store::{ErrorKind, Keeping, Lock, LockMode, Removed, Result, Retain};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode,
};

/// The version of an object that a plain request means.
pub(super) struct Version {
    /// `None` in a bucket that keeps no versions.
    id: Option<String>,
    pub(super) keeping: Keeping,
}

impl Bucket {
    /// The version that is there. Without `s3:GetObjectRetention` and `s3:GetObjectLegalHold` it tells of no lock.
    pub(super) async fn version(&self, verb: &'static str, key: &ObjectKey) -> Result<Version> {
        let found = self.described(verb, key, None).await?;
        let mode = match found.object_lock_mode {
            Some(ObjectLockMode::Compliance) => Some(LockMode::Compliance),
            Some(_) => Some(LockMode::Governance),
            None => None,
        };
        let until = found.object_lock_retain_until_date.as_ref().map(micros);
        let lock = mode.zip(until).map(|(mode, until)| Lock { mode, until });
        let hold = found.object_lock_legal_hold_status;
        Ok(Version {
            id: found.version_id,
            keeping: Keeping {
                made_at: found.last_modified.as_ref().map(micros),
                lock,
                legal_hold: hold == Some(ObjectLockLegalHoldStatus::On),
            },
        })
    }

    /// DeleteObject of the version that is there, unless it is locked.
    pub(super) async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        let version = match self.version("remove", key).await {
            Err(error) if error.is_not_found() => return Ok(Removed::Gone),
            version => version?,
        };
        if version.keeping.holds_at(Micros::now()) {
            return Ok(Removed::Kept(version.keeping));
        }
        let removed = about!(self, delete_object, key)
            .set_version_id(version.id)
            .send()
            .await
            .map(drop)
            .map_err(self.failed("remove", key));
        match removed {
            Ok(()) => Ok(Removed::Gone),
            Err(error) if error.is_not_found() => Ok(Removed::Gone),
            // By the server's clock it is locked still.
            Err(error) if error.kind == ErrorKind::Denied && version.keeping.lock.is_some() => {
                Ok(Removed::Kept(version.keeping))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a lock of this mode takes the place of one in mode governance. That one ends before its time then, which has to be said, and
    /// takes a right of its own.
    async fn ends_governance(&self, key: &ObjectKey, mode: LockMode) -> Result<bool> {
        match mode {
            LockMode::Governance => Ok(false),
            LockMode::Compliance => {
                let has = self.version("retain", key).await?.keeping.lock;
                let is_on = |lock: Lock| lock.until > Micros::now();
                Ok(has.is_some_and(|lock| lock.mode == LockMode::Governance && is_on(lock)))
            }
        }
    }

    /// PutObjectRetention and PutObjectLegalHold, of what changes.
    pub(super) async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        if let Some(lock) = change.lock {
            let mode = match lock.mode {
                LockMode::Governance => ObjectLockRetentionMode::Governance,
                LockMode::Compliance => ObjectLockRetentionMode::Compliance,
            };
            let retention = ObjectLockRetention::builder()
                .mode(mode)
                .retain_until_date(date(lock.until))
                .build();
            let bypass = self.ends_governance(key, lock.mode).await?;
            about!(self, put_object_retention, key)
                .set_bypass_governance_retention(bypass.then_some(true))
                .retention(retention)
                .send()
                .await
                .map_err(self.failed("retain", key))?;
        }
        if let Some(held) = change.legal_hold {
            let status = match held {
                true => ObjectLockLegalHoldStatus::On,
                false => ObjectLockLegalHoldStatus::Off,
            };
            about!(self, put_object_legal_hold, key)
                .legal_hold(ObjectLockLegalHold::builder().status(status).build())
                .send()
                .await
                .map_err(self.failed("retain", key))?;
        }
        Ok(())
    }
}

fn micros(time: &DateTime) -> Micros {
    let micros = time.as_nanos() / 1000;
    Micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
