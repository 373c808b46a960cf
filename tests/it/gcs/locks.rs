//! Object retention: no server that runs here knows it, so that what is asked for is looked at.

use super::emulator::url;
use super::model::{Model, Trouble};
use binlogfs::model::{Micros, ObjectKey, StoreUrl};
use binlogfs::store::{
    Checksums, GcsStore, Lock, LockMode, Protection, Removed, Retain, RetryPolicy, Store as _,
};
use bytes::Bytes;
use std::time::Duration;

/// More than goes in one request.
const LARGE_BYTES: usize = 9 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn new_objects_are_described_with_their_retention_whatever_their_size() {
    for (protection, mode) in [
        (Protection::default(), None),
        (
            Protection {
                lock: Some((LockMode::Governance, Duration::from_secs(86_400))),
                legal_hold: false,
            },
            Some("Unlocked"),
        ),
        (
            Protection {
                lock: Some((LockMode::Compliance, Duration::from_secs(86_400))),
                legal_hold: true,
            },
            Some("Locked"),
        ),
    ] {
        let model = Model::start(|_, _| Trouble::None).await;
        let url: StoreUrl = url(&model.endpoint, "p").parse().expect("a URL");
        let store = GcsStore::connect_protecting(&url, RetryPolicy::default(), protection);
        let store = store.expect("connects");
        let key = |text: &str| -> ObjectKey { text.parse().expect("a key") };
        store.create(&key("small"), "x".into()).await.expect("made");
        let body = Bytes::from(vec![7; LARGE_BYTES]);
        let mut upload = store.upload(&key("large"), 0).await.expect("begun");
        upload.write(body.clone()).await.expect("written");
        upload.commit(Checksums::of(&body)).await.expect("made");
        let described = model.described();
        assert_eq!(described.len(), 2, "{described:?}");
        for object in described {
            assert_eq!(object["retention"]["mode"].as_str(), mode, "{object}");
            let until = object["retention"]["retainUntilTime"].as_str();
            assert_eq!(until.is_some(), mode.is_some(), "{object}");
            assert!(until.is_none_or(|until| until.ends_with('Z')), "{object}");
            let held = object["temporaryHold"].as_bool();
            assert_eq!(held, protection.legal_hold.then_some(true), "{object}");
        }
    }
}

#[tokio::test]
async fn what_is_removed_is_the_generation_that_was_looked_at() {
    // It is looked at while another object has the name.
    let model = Model::start(|n, _| match n {
        1 => Trouble::Answer(200, &[], r#"{"generation":"7"}"#),
        _ => Trouble::None,
    })
    .await;
    let url: StoreUrl = url(&model.endpoint, "p").parse().expect("a URL");
    let store = GcsStore::connect(&url, RetryPolicy::default()).expect("connects");
    let key: ObjectKey = "small".parse().expect("a key");
    store.create(&key, "x".into()).await.expect("made");
    let error = store.remove(&key).await.expect_err("another one");
    assert!(error.is_transient(), "{error}");
    assert!(model.object("p/small").is_some(), "{:?}", model.asked());
    assert_eq!(store.remove(&key).await.expect("removed"), Removed::Gone);
    assert!(model.object("p/small").is_none(), "{:?}", model.asked());
}

#[tokio::test]
async fn what_was_unlocked_becomes_locked_because_that_is_said() {
    const UNLOCKED: &str =
        r#"{"retention":{"mode":"Unlocked","retainUntilTime":"2100-01-01T00:00:00Z"}}"#;
    const LOCKED: &str =
        r#"{"retention":{"mode":"Locked","retainUntilTime":"2100-01-01T00:00:00Z"}}"#;
    for (has, mode, said) in [
        (UNLOCKED, LockMode::Compliance, vec![false, true]),
        (LOCKED, LockMode::Compliance, vec![false, false]),
        (UNLOCKED, LockMode::Governance, vec![false]),
    ] {
        let gets = match mode {
            LockMode::Compliance => LOCKED,
            LockMode::Governance => UNLOCKED,
        };
        let model = Model::start(move |_, what| match what {
            "GET" => Trouble::Answer(200, &[], has),
            _ => Trouble::Answer(200, &[], gets),
        })
        .await;
        let url: StoreUrl = url(&model.endpoint, "p").parse().expect("a URL");
        let store = GcsStore::connect(&url, RetryPolicy::default()).expect("connects");
        let key: ObjectKey = "small".parse().expect("a key");
        // The beginning of 2100.
        let until = Micros(4_102_444_800_000_000);
        let change = Retain {
            lock: Some(Lock { mode, until }),
            legal_hold: None,
        };
        store.retain(&key, &change).await.expect("locked");
        let overrides = |query: &String| query.contains("overrideUnlockedRetention=true");
        let found: Vec<bool> = model.queries().iter().map(overrides).collect();
        assert_eq!(found, said, "{has} {mode}");
    }
}
