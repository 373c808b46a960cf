//! What is wanted of requests beyond their key: who pays, and how new objects are encrypted, stored and locked.

use crate::model::Micros;
use crate::model::url::{KmsKey, S3Options};
use crate::store::{LockMode, Protection};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockLegalHoldStatus, ObjectLockMode, RequestPayer, ServerSideEncryption, StorageClass,
};

/// Terms of every request; those of new objects go with PutObject and CreateMultipartUpload.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) payer: Option<RequestPayer>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) kms_key: Option<String>,
    pub(super) class: Option<StorageClass>,
    protection: Protection,
}

impl Terms {
    pub(super) fn of(options: &S3Options, protection: Protection) -> Terms {
        Terms {
            payer: options.requester_pays.then_some(RequestPayer::Requester),
            encryption: options
                .encryption
                .as_ref()
                .map(|_| ServerSideEncryption::AwsKms),
            kms_key: match &options.encryption {
                Some(KmsKey::Named(key)) => Some(key.clone()),
                Some(KmsKey::Default) | None => None,
            },
            class: options.storage_class.as_deref().map(StorageClass::from),
            protection,
        }
    }

    /// Mode and end of the lock of an object that is made now.
    pub(super) fn lock(&self) -> (Option<ObjectLockMode>, Option<DateTime>) {
        let Some(lock) = self.protection.lock_at(Micros::now()) else {
            return (None, None);
        };
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        };
        (Some(mode), Some(date(lock.until)))
    }

    /// Whether what is made is locked or held in any way.
    pub(super) fn locks(&self) -> bool {
        self.protection.legal_hold || self.protection.lock.is_some()
    }

    /// Whether an object that is made now is put on legal hold.
    pub(super) fn legal_hold(&self) -> Option<ObjectLockLegalHoldStatus> {
        self.protection
            .legal_hold
            .then_some(ObjectLockLegalHoldStatus::On)
    }
}

/// A time as the API takes it: whole seconds, and no second too few.
pub(super) fn date(time: Micros) -> DateTime {
    let whole = time.0.div_euclid(1_000_000);
    let more = i64::from(time.0.rem_euclid(1_000_000) > 0);
    DateTime::from_secs(whole + more)
}
