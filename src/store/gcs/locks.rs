//! The requests about object retention and holds, each once and without retries.

use super::bucket::{Bucket, object_of};
use super::failure::About;
use super::object::{Object, time};
use crate::model::{Micros, ObjectKey};
use crate::store::{ErrorKind, Keeping, Lock, LockMode, Protection, Removed, Result, Retain};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

/// What an object's description is asked for.
const KEEPING_FIELDS: &str =
    "generation,timeCreated,retention,retentionExpirationTime,temporaryHold,eventBasedHold";

/// The retention of an object ("Object Retention Lock").
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retention {
    mode: String,
    retain_until_time: String,
}

impl Retention {
    pub(super) fn lock(&self) -> Option<Lock> {
        let mode = match self.mode.as_str() {
            "Locked" => LockMode::Compliance,
            _ => LockMode::Governance,
        };
        let until = time(&self.retain_until_time)?;
        Some(Lock { mode, until })
    }
}

/// A lock as the API wants it.
fn described(lock: Lock) -> Value {
    let mode = match lock.mode {
        LockMode::Governance => "Unlocked",
        LockMode::Compliance => "Locked",
    };
    json!({ "mode": mode, "retainUntilTime": lock.until.to_string() })
}

/// Adds to the description of a new object how it is protected from `now` on.
pub(super) fn protect(mut object: Value, protection: &Protection, now: Micros) -> Value {
    if let Some(lock) = protection.lock_at(now) {
        object["retention"] = described(lock);
    }
    if protection.legal_hold {
        object["temporaryHold"] = json!(true);
    }
    object
}

/// What of an object's description is changed.
fn patch(change: &Retain) -> Value {
    let mut object = json!({});
    if let Some(lock) = change.lock {
        object["retention"] = described(lock);
    }
    if let Some(held) = change.legal_hold {
        object["temporaryHold"] = json!(held);
    }
    object
}

impl Bucket {
    /// objects.get of what tells how long an object is kept.
    pub(super) async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        Ok(self.described("keeping", key).await?.keeping())
    }

    async fn described(&self, verb: &'static str, key: &ObjectKey) -> Result<Object> {
        let mut url = self.address(&[], Some(&self.full(key)));
        url.query_pairs_mut().append_pair("fields", KEEPING_FIELDS);
        let found = async {
            let request = self.request(Method::GET, url);
            let mut answer = self.ask(request, About::Object).await?;
            object_of(&mut answer).await
        };
        match found.await {
            Ok(object) => Ok(object),
            Err(failure) => Err(self.failed(verb, key, failure).await),
        }
    }

    /// objects.delete of the generation that is there, unless it is kept. Naming it also deletes for good in a bucket that keeps versions.
    pub(super) async fn remove_unkept(&self, key: &ObjectKey) -> Result<Removed> {
        let object = match self.described("remove", key).await {
            Err(error) if error.is_not_found() => return Ok(Removed::Gone),
            object => object?,
        };
        let keeping = object.keeping();
        if keeping.holds_at(Micros::now()) {
            return Ok(Removed::Kept(keeping));
        }
        match self
            .remove("remove", key, object.generation.as_deref())
            .await
        {
            Ok(()) => Ok(Removed::Gone),
            // Nothing is known of that one: it is looked at, too, before it goes.
            Err(error) if error.already_exists() => Err(self
                .error(ErrorKind::Transient, "remove", key)
                .because("another object took its place after it was looked at")),
            // By the server's clock it is kept still.
            Err(error) if error.kind == ErrorKind::Denied && keeping.lock.is_some() => {
                Ok(Removed::Kept(keeping))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a retention of mode `Unlocked` becomes `Locked`. The service refuses that unless it is said ("Object Retention Lock"), and
    /// saying it takes a right that nothing else needs.
    async fn becomes_locked(&self, key: &ObjectKey, change: &Retain) -> Result<bool> {
        if change.lock.map(|lock| lock.mode) != Some(LockMode::Compliance) {
            return Ok(false);
        }
        let retention = self.described("retain", key).await?.retention;
        let lock = retention.as_ref().and_then(Retention::lock);
        Ok(lock.is_some_and(|lock| lock.mode == LockMode::Governance))
    }

    /// objects.patch. The answer is looked at: an emulator takes what it does not know, and does nothing.
    pub(super) async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        let mut url = self.address(&[], Some(&self.full(key)));
        if self.becomes_locked(key, change).await? {
            url.query_pairs_mut()
                .append_pair("overrideUnlockedRetention", "true");
        }
        let request = self
            .request(Method::PATCH, url)
            .header(CONTENT_TYPE, "application/json")
            .body(patch(change).to_string());
        let changed = async {
            let mut answer = self.ask(request, About::Object).await?;
            object_of(&mut answer).await
        };
        let object = match changed.await {
            Ok(object) => object,
            Err(failure) => return Err(self.failed("retain", key, failure).await),
        };
        let lock = object.retention.as_ref().and_then(Retention::lock);
        let is_lock = change.lock.is_none_or(|wanted| lock == Some(wanted));
        let held = object.keeping().legal_hold;
        if is_lock && change.legal_hold.is_none_or(|wanted| held == wanted) {
            return Ok(());
        }
        Err(self
            .error(ErrorKind::Unsupported, "retain", key)
            .because("the server took the request and locked nothing; is object retention switched on for the bucket?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_new_object_is_described_with_its_lock_and_its_hold() {
        let none = protect(json!({ "crc32c": "x" }), &Protection::default(), Micros(0));
        assert_eq!(none, json!({ "crc32c": "x" }));
        for (mode, name) in [
            (LockMode::Governance, "Unlocked"),
            (LockMode::Compliance, "Locked"),
        ] {
            let protection = Protection {
                lock: Some((mode, Duration::from_secs(86_400))),
                legal_hold: true,
            };
            let object = protect(json!({}), &protection, Micros(1_000_000));
            let retention = json!({ "mode": name, "retainUntilTime": "1970-01-02T00:00:01Z" });
            assert_eq!(
                object,
                json!({ "retention": retention, "temporaryHold": true })
            );
        }
    }

    #[test]
    fn a_description_tells_the_longest_of_its_retentions() {
        let read = |text: &str| -> Keeping {
            let object: Object = serde_json::from_str(text).expect("an object");
            object.keeping()
        };
        let own = r#""retention":{"mode":"Unlocked","retainUntilTime":"2026-12-01T00:00:00Z"}"#;
        let found = read(&format!(
            "{{{own},\"timeCreated\":\"2026-11-27T01:02:03.5Z\"}}"
        ));
        assert_eq!(
            found.to_string(),
            "locked until 2026-12-01T00:00:00Z (governance)"
        );
        let made = found.made_at.map(|time| time.to_string());
        assert_eq!(made.as_deref(), Some("2026-11-27T01:02:03.5Z"));
        let policy = r#""retentionExpirationTime":"2026-12-05T00:00:00Z""#;
        let found = read(&format!("{{{own},{policy},\"eventBasedHold\":true}}"));
        let text = "locked until 2026-12-05T00:00:00Z (compliance) and on legal hold";
        assert_eq!(found.to_string(), text);
        assert_eq!(read("{}"), Keeping::default());
    }
}
