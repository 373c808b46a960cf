//! From an answer, or none, to an [`ErrorKind`]: the one table of Cloud Storage's errors.
//!
//! Statuses and reasons are those of "HTTP status and error codes for JSON". The reason decides where the status says too little.

use crate::store::causes::{causes, chain, is_of_tls, printable};
use crate::store::retry::retry_after;
use crate::store::{ErrorKind, Outcome};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use std::time::Duration;

/// A request that failed.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) outcome: Outcome,
    pub(super) retry_after: Option<Duration>,
    pub(super) cause: String,
}

/// What came of a request.
pub(super) type Asked<T> = std::result::Result<T, Failure>;

/// What a request was about: what is not there when the answer is 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A bucket: its objects are listed, or one is made in it.
    Bucket,
    /// An object that may not exist.
    Object,
    /// A session of a resumable upload.
    Session,
}

/// The body of an error.
#[derive(Default, Deserialize)]
struct Body {
    error: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    message: String,
    errors: Vec<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, outcome: Outcome, cause: &str) -> Failure {
        Failure {
            kind,
            outcome,
            retry_after: None,
            cause: printable(cause),
        }
    }

    /// A request that got no answer, or not all of one.
    pub(super) fn of_transport(error: reqwest::Error) -> Failure {
        // The address of a session is a secret.
        let error = error.without_url();
        let kind = if causes(&error).any(is_of_tls) {
            ErrorKind::Tls
        } else if error.is_timeout() {
            ErrorKind::Timeout
        } else if error.is_builder() {
            ErrorKind::Permanent
        } else {
            ErrorKind::Transient
        };
        // What never reached the server changed nothing there.
        let outcome = match error.is_connect() || error.is_builder() {
            true => Outcome::NoEffect,
            false => Outcome::Unknown,
        };
        Failure::new(kind, outcome, &chain(&error))
    }

    /// An answer that says that it failed.
    pub(super) fn of_answer(
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        about: About,
    ) -> Failure {
        let Body { error } = serde_json::from_slice(body).unwrap_or_default();
        let reason = error.errors.first().map_or("", |first| &first.reason);
        // Media requests are answered in plain text.
        let message = match error.message.as_str() {
            "" => String::from_utf8_lossy(body).into_owned(),
            message => message.to_owned(),
        };
        let kind = kind(status, reason, &message, about);
        let text = match (reason, message.as_str()) {
            ("", "") => format!("HTTP status {status}"),
            ("", message) => format!("HTTP status {status}: {message}"),
            (reason, message) => format!("{reason}: {message}"),
        };
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|text| text.to_str().ok())
            .and_then(|text| retry_after(text, jiff::Timestamp::now()));
        Failure {
            retry_after,
            ..Failure::new(kind, outcome(status), &text)
        }
    }
}

/// Whether a change that was answered like this may have happened: a server that gave up may have done it all the same.
fn outcome(status: u16) -> Outcome {
    match status {
        500.. => Outcome::Unknown,
        _ => Outcome::NoEffect,
    }
}

fn kind(status: u16, reason: &str, message: &str, about: About) -> ErrorKind {
    match (status, reason) {
        // "The specified bucket does not exist."
        (404, _) if message.contains("bucket does not exist") => ErrorKind::NoSuchBucket,
        (404, _) => match about {
            About::Bucket => ErrorKind::NoSuchBucket,
            About::Object | About::Session => ErrorKind::NotFound,
        },
        // A session that is over.
        (410, _) if about == About::Session => ErrorKind::NotFound,
        // "Provided CRC32C ... doesn't match calculated CRC32C ..."
        (400, _) if message.contains("doesn't match calculated") => ErrorKind::BadDigest,
        // Nobody asked in whose name: there were no credentials to expire.
        (401, "required") => ErrorKind::Credentials,
        (401, _) => ErrorKind::Expired,
        (403, "rateLimitExceeded" | "userRateLimitExceeded") => ErrorKind::Throttled,
        (403, "sslRequired") => ErrorKind::Tls,
        (403 | 405 | 451, _) => ErrorKind::Denied,
        (408, _) => ErrorKind::Timeout,
        // Another change of the same object was under way.
        (409, _) => ErrorKind::Transient,
        (412, _) => ErrorKind::AlreadyExists,
        (416, _) => ErrorKind::Truncated,
        (429 | 503, _) => ErrorKind::Throttled,
        (501, _) => ErrorKind::Unsupported,
        (504, _) => ErrorKind::Timeout,
        (507, _) => ErrorKind::NoSpace,
        (500.., _) => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: &str, message: &str, about: About) -> Failure {
        let body = serde_json::json!({ "error": {
            "code": status, "message": message, "errors": [{ "reason": reason, "domain": "global" }],
        }});
        let body = body.to_string();
        Failure::of_answer(status, &HeaderMap::new(), body.as_bytes(), about)
    }

    #[test]
    fn the_status_decides_and_where_it_says_too_little_the_reason() {
        for (status, reason, kind) in [
            (400, "invalid", ErrorKind::Permanent),
            (401, "authError", ErrorKind::Expired),
            (401, "required", ErrorKind::Credentials),
            (403, "forbidden", ErrorKind::Denied),
            (403, "retentionPolicyNotMet", ErrorKind::Denied),
            (403, "rateLimitExceeded", ErrorKind::Throttled),
            (403, "userRateLimitExceeded", ErrorKind::Throttled),
            (404, "notFound", ErrorKind::NotFound),
            (408, "", ErrorKind::Timeout),
            (409, "conflict", ErrorKind::Transient),
            (412, "conditionNotMet", ErrorKind::AlreadyExists),
            (416, "requestedRangeNotSatisfiable", ErrorKind::Truncated),
            (429, "rateLimitExceeded", ErrorKind::Throttled),
            (500, "backendError", ErrorKind::Transient),
            (502, "", ErrorKind::Transient),
            (503, "backendError", ErrorKind::Throttled),
            (504, "", ErrorKind::Timeout),
        ] {
            let found = answer(status, reason, "text", About::Object);
            assert_eq!(found.kind, kind, "{status} {reason}");
        }
    }

    #[test]
    fn a_404_is_the_objects_the_buckets_or_the_sessions() {
        let missing = |message, about| answer(404, "notFound", message, about).kind;
        let bucket = "The specified bucket does not exist.";
        assert_eq!(missing(bucket, About::Object), ErrorKind::NoSuchBucket);
        let object = "No such object: b/k";
        assert_eq!(missing(object, About::Object), ErrorKind::NotFound);
        assert_eq!(missing("", About::Bucket), ErrorKind::NoSuchBucket);
        assert_eq!(missing("", About::Session), ErrorKind::NotFound);
    }

    #[test]
    fn only_a_server_that_gave_up_leaves_the_outcome_unknown() {
        for (status, outcome) in [
            (401, Outcome::NoEffect),
            (408, Outcome::NoEffect),
            (412, Outcome::NoEffect),
            (429, Outcome::NoEffect),
            (500, Outcome::Unknown),
            (503, Outcome::Unknown),
        ] {
            assert_eq!(answer(status, "", "", About::Bucket).outcome, outcome);
        }
    }

    #[test]
    fn a_checksum_that_differs_and_a_plain_text_are_understood() {
        let text = "Provided CRC32C \"AAAAAA==\" doesn't match calculated CRC32C \"mnG7TA==\".";
        let found = answer(400, "invalid", text, About::Bucket);
        assert_eq!(found.kind, ErrorKind::BadDigest);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3".parse().expect("a value"));
        let found = Failure::of_answer(503, &headers, b"busy\r\n", About::Object);
        assert_eq!(found.cause, "HTTP status 503: busy");
        assert_eq!(found.retry_after, Some(Duration::from_secs(3)));
    }
}
