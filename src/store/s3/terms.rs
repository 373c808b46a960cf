//! What the URL wants of requests beyond their key: who pays, and how new objects are encrypted and stored.

use crate::model::url::{KmsKey, S3Options};
use aws_sdk_s3::types::{RequestPayer, ServerSideEncryption, StorageClass};

/// Terms of every request; those of new objects go with PutObject and CreateMultipartUpload.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) payer: Option<RequestPayer>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) kms_key: Option<String>,
    pub(super) class: Option<StorageClass>,
}

impl Terms {
    pub(super) fn of(options: &S3Options) -> Terms {
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
        }
    }
}
