//! From what the SDK reports to an [`ErrorKind`]: the one table of S3's errors.
//!
//! Codes are those of the API reference ("Error responses"); servers that speak S3 without being it add a few. Where a reply has
//! no code (HEAD has no body), its status decides.

use crate::store::causes::{self, causes, chain, is_of_tls};
use crate::store::retry::retry_after;
use crate::store::{ErrorKind, Outcome};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use std::error::Error as StdError;
use std::time::Duration;

/// A request that failed.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) outcome: Outcome,
    pub(super) retry_after: Option<Duration>,
    pub(super) cause: String,
}

impl Failure {
    fn new(kind: ErrorKind, outcome: Outcome, cause: impl Into<String>) -> Failure {
        Failure {
            kind,
            outcome,
            retry_after: None,
            cause: causes::printable(&cause.into()),
        }
    }

    /// What became of a request.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let mut failure = Failure::of_kind(error);
        failure.retry_after = error
            .raw_response()
            .and_then(|response| response.headers().get("retry-after"))
            .and_then(|text| retry_after(text, jiff::Timestamp::now()));
        failure
    }

    fn of_kind<E>(error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error {
            SdkError::ServiceError(context) => {
                let response = context.raw();
                service(context.err(), response)
            }
            // The reply came and could not be understood, or was cut off.
            SdkError::ResponseError(context) => {
                let status = context.raw().status().as_u16();
                let kind = if status < 400 {
                    ErrorKind::Transient
                } else {
                    of_status(status)
                };
                let cause = format!("HTTP status {status}: {}", chain(error));
                Failure::new(kind, outcome(kind, status), cause)
            }
            SdkError::TimeoutError(_) => {
                Failure::new(ErrorKind::Timeout, Outcome::Unknown, chain(error))
            }
            SdkError::ConstructionFailure(_) => {
                let kind = of_cause(error).unwrap_or(ErrorKind::Permanent);
                Failure::new(kind, Outcome::NoEffect, chain(error))
            }
            SdkError::DispatchFailure(dispatch) => {
                let kind = of_cause(error).unwrap_or(if dispatch.is_timeout() {
                    ErrorKind::Timeout
                } else if dispatch.is_user() {
                    ErrorKind::Permanent
                } else {
                    ErrorKind::Transient
                });
                let outcome = match kind {
                    ErrorKind::Timeout | ErrorKind::Transient => Outcome::Unknown,
                    _ => Outcome::NoEffect,
                };
                Failure::new(kind, outcome, chain(error))
            }
            // The SDK may add kinds of errors.
            _ => Failure::new(ErrorKind::Permanent, Outcome::Unknown, chain(error)),
        }
    }
}

/// The server's own answer.
fn service<E: ProvideErrorMetadata>(error: &E, response: &HttpResponse) -> Failure {
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default();
    let message = error.message().unwrap_or_default();
    let kind = of_code(code).unwrap_or_else(|| of_status(status));
    let kind = without_locks(code, message).unwrap_or(kind);
    let mut cause = match (code, error.message()) {
        ("", None) => format!("HTTP status {status}"),
        ("", Some(message)) => format!("HTTP status {status}: {message}"),
        (code, None) => code.to_owned(),
        (code, Some(message)) => format!("{code}: {message}"),
    };
    if kind == ErrorKind::WrongRegion
        && let Some(region) = response.headers().get("x-amz-bucket-region")
    {
        cause += &format!("; the bucket is in region {region}");
    }
    if kind == ErrorKind::Unsupported && without_locks(code, message).is_some() {
        cause += "; Object Lock is switched on for the bucket as a whole: do that, or leave object_lock and legal_hold out";
    }
    if let Some(id) = error.meta().request_id() {
        cause += &format!("; request {id}");
    }
    Failure::new(kind, outcome(kind, status), cause)
}

/// Whether a change that was answered like this may have happened: a server that gave up may have done it all the same.
fn outcome(kind: ErrorKind, status: u16) -> Outcome {
    match kind {
        ErrorKind::Transient | ErrorKind::Timeout if !(400..500).contains(&status) => {
            Outcome::Unknown
        }
        _ => Outcome::NoEffect,
    }
}

/// A bucket that was made without Object Lock: its answer has a code that means many things.
fn without_locks(code: &str, message: &str) -> Option<ErrorKind> {
    let of_locks = message.contains("Object Lock") || message.contains("ObjectLock");
    match code {
        "InvalidRequest" if of_locks => Some(ErrorKind::Unsupported),
        "ObjectLockConfigurationNotFoundError" | "NoSuchObjectLockConfiguration" => {
            Some(ErrorKind::Unsupported)
        }
        _ => None,
    }
}

fn of_code(code: &str) -> Option<ErrorKind> {
    let kind = match code {
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => ErrorKind::NotFound,
        "NoSuchBucket" | "InvalidBucketName" => ErrorKind::NoSuchBucket,
        "PreconditionFailed" | "ObjectAlreadyExists" => ErrorKind::AlreadyExists,
        // Another create of the same key was under way: whether it succeeds is not known yet.
        "ConditionalRequestConflict" | "OperationAborted" => ErrorKind::Transient,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "CredentialsNotSupported"
        | "InvalidSecurity"
        | "NotSignedUp" => ErrorKind::Credentials,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => ErrorKind::Expired,
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "Forbidden"
        | "MethodNotAllowed"
        | "InvalidObjectState"
        | "KMS.DisabledException"
        | "InvalidPayer" => ErrorKind::Denied,
        "RequestTimeTooSkewed" | "RequestExpired" => ErrorKind::ClockSkew,
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "IncorrectEndpoint"
        | "Redirect" => ErrorKind::WrongRegion,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "BandwidthLimitExceeded"
        | "RequestThrottled" => ErrorKind::Throttled,
        "InternalError" | "ServiceUnavailable" | "InternalFailure" => ErrorKind::Transient,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::Timeout,
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity" => ErrorKind::NoSpace,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => ErrorKind::BadDigest,
        "InvalidRange" => ErrorKind::Truncated,
        "NotImplemented" | "UnsupportedOperation" => ErrorKind::Unsupported,
        _ => return None,
    };
    Some(kind)
}

fn of_status(status: u16) -> ErrorKind {
    match status {
        301 | 307 | 308 => ErrorKind::WrongRegion,
        401 => ErrorKind::Credentials,
        403 | 405 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        409 => ErrorKind::Transient,
        412 => ErrorKind::AlreadyExists,
        416 => ErrorKind::Truncated,
        429 => ErrorKind::Throttled,
        501 => ErrorKind::Unsupported,
        503 => ErrorKind::Throttled,
        507 => ErrorKind::NoSpace,
        500.. => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

/// What a request that never reached a server failed of, where that is more than the network.
fn of_cause(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    causes(error).find_map(|cause| {
        if cause
            .downcast_ref::<aws_credential_types::provider::error::CredentialsError>()
            .is_some()
        {
            return Some(ErrorKind::Credentials);
        }
        is_of_tls(cause).then_some(ErrorKind::Tls)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::error::ErrorMetadata;
    use aws_sdk_s3::operation::put_object::PutObjectError;
    use aws_sdk_s3::primitives::SdkBody;

    fn answer(status: u16, code: &str, headers: &[(&'static str, &'static str)]) -> Failure {
        let error = PutObjectError::generic(ErrorMetadata::builder().code(code).build());
        let code = status.try_into().expect("a status");
        let mut response = HttpResponse::new(code, SdkBody::empty());
        for (name, value) in headers {
            response.headers_mut().append(*name, *value);
        }
        Failure::of(&SdkError::service_error(error, response))
    }

    #[test]
    fn a_code_decides_and_without_one_the_status() {
        for (status, code, kind) in [
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "RequestTimeTooSkewed", ErrorKind::ClockSkew),
            (403, "SignatureDoesNotMatch", ErrorKind::Credentials),
            (400, "ExpiredToken", ErrorKind::Expired),
            (400, "TokenRefreshRequired", ErrorKind::Expired),
            (400, "BadDigest", ErrorKind::BadDigest),
            (404, "NoSuchBucket", ErrorKind::NoSuchBucket),
            (404, "", ErrorKind::NotFound),
            (409, "ConditionalRequestConflict", ErrorKind::Transient),
            (412, "PreconditionFailed", ErrorKind::AlreadyExists),
            (412, "", ErrorKind::AlreadyExists),
            (503, "SlowDown", ErrorKind::Throttled),
            (500, "InternalError", ErrorKind::Transient),
            (502, "", ErrorKind::Transient),
            (400, "SomethingNew", ErrorKind::Permanent),
        ] {
            assert_eq!(answer(status, code, &[]).kind, kind, "{status} {code}");
        }
    }

    #[test]
    fn only_a_server_that_gave_up_leaves_the_outcome_unknown() {
        for (status, code, outcome) in [
            (500, "InternalError", Outcome::Unknown),
            (504, "", Outcome::Unknown),
            (503, "SlowDown", Outcome::NoEffect),
            (409, "ConditionalRequestConflict", Outcome::NoEffect),
            (403, "AccessDenied", Outcome::NoEffect),
            (412, "PreconditionFailed", Outcome::NoEffect),
        ] {
            assert_eq!(
                answer(status, code, &[]).outcome,
                outcome,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn a_redirect_names_the_region_to_ask_for() {
        let region = [("x-amz-bucket-region", "eu-central-1")];
        let failure = answer(301, "PermanentRedirect", &region);
        assert_eq!(failure.kind, ErrorKind::WrongRegion);
        assert!(failure.cause.contains("eu-central-1"), "{failure:?}");
    }

    #[test]
    fn a_server_says_when_to_come_back() {
        let failure = answer(503, "SlowDown", &[("retry-after", "7")]);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(answer(503, "SlowDown", &[]).retry_after, None);
    }
}
