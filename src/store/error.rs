//! What can go wrong with a store: what failed, on which key, where, and why.

use crate::model::ObjectKey;
use std::fmt;
use std::time::Duration;

/// The kinds of store errors. Retry, errno and exit code are each decided from the kind, in one table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No object has the key.
    NotFound,
    /// The key is taken, and keys are create-only.
    AlreadyExists,
    /// The credentials are missing or wrong.
    Credentials,
    /// The credentials were right and have expired. The store forgets those it has in hand, so that the next attempt asks for
    /// new ones.
    Expired,
    /// The credentials are right and do not allow it.
    Denied,
    /// The bucket or directory does not exist, or is not one.
    NoSuchBucket,
    /// The bucket is in another region than the one asked, or no region is known.
    WrongRegion,
    /// This host's clock and the store's differ by more than signatures allow.
    ClockSkew,
    /// No encrypted connection comes about: certificate, protocol or root certificates.
    Tls,
    /// The store asks to slow down.
    Throttled,
    /// A passing fault: reset, 5xx, interrupted.
    Transient,
    /// No answer in time.
    Timeout,
    /// The store has failed again and again, and is left alone for a while; nothing was sent.
    BreakerOpen,
    /// No space or quota is left.
    NoSpace,
    /// The object is shorter than the range asked for.
    Truncated,
    /// The object is longer than the caller is ready to take.
    TooLarge,
    /// The bytes the store received differ from those sent.
    BadDigest,
    /// The store lacks what binlogfs needs, such as a conditional create.
    Unsupported,
    /// Anything else that will not pass by itself.
    Permanent,
}

/// Whether a failed change took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not.
    NoEffect,
    /// It may have: the reply was lost.
    Unknown,
}

/// A failed store operation.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// The key or prefix it was about.
    pub key: String,
    /// [`super::Store::describe`] of the store.
    pub store: String,
    /// Whether the change may have happened all the same.
    pub outcome: Outcome,
    /// How long the store asks to wait before the next request (the header Retry-After).
    pub retry_after: Option<Duration>,
    /// The cause, as the system or the SDK told it.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error that had no effect.
    pub fn new(
        kind: ErrorKind,
        verb: &'static str,
        key: impl fmt::Display,
        store: impl Into<String>,
    ) -> Error {
        Error {
            kind,
            verb,
            key: key.to_string(),
            store: store.into(),
            outcome: Outcome::NoEffect,
            retry_after: None,
            source: None,
        }
    }

    /// That of a lock on `key` in a store that has no locks.
    pub fn no_locks(key: impl fmt::Display, store: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, "retain", key, store).because("it has no locks")
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// The same error, with an unknown outcome.
    #[must_use]
    pub fn outcome_unknown(mut self) -> Error {
        self.outcome = Outcome::Unknown;
        self
    }

    /// The same error, with what the store said of when to come back.
    #[must_use]
    pub fn not_before(mut self, retry_after: Option<Duration>) -> Error {
        self.retry_after = retry_after;
        self
    }

    /// The same error once more, for a later call on something that has failed.
    #[must_use]
    pub fn again(&self) -> Error {
        Error {
            source: self.source.as_ref().map(|cause| cause.to_string().into()),
            key: self.key.clone(),
            store: self.store.clone(),
            ..*self
        }
    }

    /// Whether the key was not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Whether the key was taken.
    pub fn already_exists(&self) -> bool {
        self.kind == ErrorKind::AlreadyExists
    }

    /// Whether the same call may succeed later without anyone changing anything. The one retry table.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Expired
            | ErrorKind::Throttled
            | ErrorKind::Transient
            | ErrorKind::Timeout => true,
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Credentials
            | ErrorKind::Denied
            | ErrorKind::NoSuchBucket
            | ErrorKind::WrongRegion
            | ErrorKind::ClockSkew
            | ErrorKind::Tls
            | ErrorKind::BreakerOpen
            | ErrorKind::NoSpace
            | ErrorKind::Truncated
            | ErrorKind::TooLarge
            | ErrorKind::BadDigest
            | ErrorKind::Unsupported
            | ErrorKind::Permanent => false,
        }
    }

    /// Whether it tells of the store as a whole, not of the call: what the circuit breaker counts.
    pub fn is_outage(&self) -> bool {
        self.is_transient()
    }
}

impl ErrorKind {
    /// What happened, and what to do next.
    fn explain(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "no such object",
            ErrorKind::AlreadyExists => "the key is taken",
            ErrorKind::Credentials => {
                "the credentials are missing, wrong or expired; renew them and run again"
            }
            ErrorKind::Expired => {
                "the credentials have expired, and those found in their place are no better; renew them and run again"
            }
            ErrorKind::Denied => "permission denied; grant it to this account and run again",
            ErrorKind::NoSuchBucket => {
                "the bucket or directory does not exist; create it or correct the URL"
            }
            ErrorKind::WrongRegion => {
                "wrong or missing region; add ?region=... to the URL, or set AWS_REGION"
            }
            ErrorKind::ClockSkew => {
                "this host's clock differs too much from the store's; set it (NTP) and run again"
            }
            ErrorKind::Tls => {
                "no encrypted connection; check the endpoint (http or https?) and its certificate, and name your own certificate authority in SSL_CERT_FILE"
            }
            ErrorKind::Throttled => "the store asks to slow down",
            ErrorKind::Transient => "a passing fault",
            ErrorKind::Timeout => "no answer in time",
            ErrorKind::BreakerOpen => {
                "the store has failed again and again, and is left alone for a while (circuit breaker open)"
            }
            ErrorKind::NoSpace => "no space or quota left; free some and run again",
            ErrorKind::Truncated => {
                "the object is shorter than recorded; run 'binlogfs verify --deep'"
            }
            ErrorKind::TooLarge => {
                "the object is larger than such an object can be; run 'binlogfs verify'"
            }
            ErrorKind::BadDigest => "the store received other bytes than were sent",
            ErrorKind::Unsupported => "the store lacks a feature that binlogfs needs",
            ErrorKind::Permanent => "the operation failed",
        }
    }
}

impl Error {
    /// What failed, without its key: for whoever has named that.
    pub fn without_key(&self) -> String {
        format!("{} in {}: {}", self.verb, self.store, self.why())
    }

    fn why(&self) -> String {
        let why = self.kind.explain();
        match &self.source {
            Some(source) => format!("{why} ({source})"),
            None => why.to_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, key, store) = (self.verb, &self.key, &self.store);
        write!(f, "{verb} {key} in {store}: {}", self.why())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause is already in the text; handing it out again would print it twice.
        None
    }
}

/// The key as an error names it.
impl From<&ObjectKey> for String {
    fn from(key: &ObjectKey) -> String {
        key.as_str().to_owned()
    }
}
