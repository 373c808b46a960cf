//! What the URL asks of S3 beyond the key: seen by another client in the objects, and by a server in the requests.

use super::conformance::{key, store_at, upload};
use super::moto::Moto;
use super::recorder::Recorder;
use super::server::{ACCESS_KEY, SECRET_KEY, url};
use binlogfs::model::StoreUrl;
use binlogfs::store::{
    ErrorKind, LockMode, Protection, RetryPolicy, RetryStore, S3Store, SharedStore, Store as _,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn new_objects_have_the_storage_class_and_the_key_of_the_url() {
    let moto = Moto::start();
    let arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    for (n, (options, class, encryption, kms_key)) in [
        ("", "None", "None", "None"),
        ("&storage_class=STANDARD_IA", "STANDARD_IA", "None", "None"),
        ("&sse=aws:kms", "None", "aws:kms", "None"),
        (&format!("&sse_kms_key={arn}"), "None", "aws:kms", arn),
    ]
    .into_iter()
    .enumerate()
    {
        let url = moto.url(&format!("p{n}")) + options;
        let store = store_at(&url);
        store.create(&key("made"), "x".into()).await.expect("made");
        upload(&store, &key("parts"), &Bytes::from(vec![1; 17 << 20])).await;
        for name in ["made", "parts"] {
            let found = moto.described(&format!("p{n}/{name}"));
            let [of_class, of_encryption, of_key] = found.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{found}");
            };
            assert_eq!(of_class, class, "{name} {options}");
            if encryption != "None" {
                assert_eq!(of_encryption, encryption, "{name} {options}");
            }
            if kms_key != "None" {
                assert_eq!(of_key, kms_key, "{name} {options}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pays_says_so_in_every_request() {
    for (options, said) in [("&requester_pays=true", true), ("", false)] {
        let recorder = Recorder::start(|_| None).await;
        let store = store_at(&(url(&recorder.endpoint, "p") + options));
        // What comes of them is not the point: each is answered, and none is tried again.
        let _ = store.create(&key("k"), "x".into()).await;
        let _ = store.get(&key("k"), 0..1).await;
        let _ = store.get_all(&key("k"), 1).await;
        let _ = store.head(&key("k")).await;
        let _ = store.list("", None).await;
        let _ = store.delete(&key("k")).await;
        let mut parts = store.upload(&key("k"), 0).await.expect("begun");
        parts
            .write(Bytes::from(vec![1; 17 << 20]))
            .await
            .expect("sent");
        parts.abort().await.expect("aborted");
        let requests = recorder.requests();
        assert!(requests.len() >= 10, "{requests:#?}");
        for request in requests {
            let found = request
                .headers
                .get("x-amz-request-payer")
                .map(String::as_str);
            assert_eq!(found, said.then_some("requester"), "{request:?}");
        }
    }
}

/// What moto forgets of an object in parts is seen in the requests.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_locks_says_so_of_small_objects_and_of_those_in_parts() {
    for (protection, mode, hold) in [
        (Protection::default(), None, None),
        (
            Protection {
                lock: Some((LockMode::Compliance, Duration::from_secs(86_400))),
                legal_hold: false,
            },
            Some("COMPLIANCE"),
            None,
        ),
        (
            Protection {
                lock: Some((LockMode::Governance, Duration::from_secs(86_400))),
                legal_hold: true,
            },
            Some("GOVERNANCE"),
            Some("ON"),
        ),
    ] {
        let recorder = Recorder::start(|_| None).await;
        let url: StoreUrl = url(&recorder.endpoint, "p").parse().expect("a URL");
        let keys = (ACCESS_KEY, SECRET_KEY);
        let store = S3Store::connect_protecting(&url, RetryPolicy::default(), keys, protection);
        let store = store.await.expect("connects");
        let _ = store.create(&key("small"), "x".into()).await;
        let mut parts = store.upload(&key("large"), 0).await.expect("begun");
        let body = Bytes::from(vec![1; 17 << 20]);
        parts.write(body).await.expect("sent");
        parts.abort().await.expect("aborted");
        let mut seen = 0;
        for request in recorder.requests() {
            let makes = request.line.starts_with("PUT") && !request.line.contains("partNumber");
            let begins = request.line.starts_with("POST") && request.line.contains("uploads");
            let header = |name: &str| request.headers.get(name).map(String::as_str);
            let is_new = makes || begins;
            seen += usize::from(is_new);
            let wanted = |value: Option<&'static str>| value.filter(|_| is_new);
            assert_eq!(
                header("x-amz-object-lock-mode"),
                wanted(mode),
                "{request:?}"
            );
            assert_eq!(
                header("x-amz-object-lock-legal-hold"),
                wanted(hold),
                "{request:?}"
            );
            let until = header("x-amz-object-lock-retain-until-date");
            assert_eq!(until.is_some(), is_new && mode.is_some(), "{request:?}");
            assert!(
                until.is_none_or(|until| until.starts_with("20")),
                "{request:?}"
            );
        }
        assert_eq!(seen, 2, "{:#?}", recorder.requests());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_in_the_middle_of_an_upload_are_renewed_and_no_part_is_sent_twice()
{
    let once = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let recorder = Recorder::start(move |request| {
        let second_part = request.line.contains("partNumber=2");
        let first_time = second_part && !once.swap(true, std::sync::atomic::Ordering::SeqCst);
        first_time.then_some(EXPIRED)
    })
    .await;
    let store = store_at(&url(&recorder.endpoint, "p"));
    let mut parts = store.upload(&key("k"), 0).await.expect("begun");
    for _ in 0..20 {
        parts
            .write(Bytes::from(vec![1; 1 << 20]))
            .await
            .expect("sent");
    }
    let expected = binlogfs::store::Checksums::of(&vec![1; 20 << 20]);
    parts.commit(expected).await.expect("made");
    let sent = |part: &str| {
        let requests = recorder.requests();
        requests
            .iter()
            .filter(|request| request.line.contains(part))
            .count()
    };
    assert_eq!(sent("partNumber=1"), 1);
    assert_eq!(sent("partNumber=2"), 2);
    assert_eq!(sent("partNumber=3"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_stay_expired_are_named_with_the_way_out_after_one_more_attempt() {
    let recorder = Recorder::start(|_| Some(EXPIRED)).await;
    let store = store_at(&url(&recorder.endpoint, "p"));
    let store: SharedStore = Arc::new(RetryStore::new(store, RetryPolicy::default()));
    let error = store.get(&key("k"), 0..1).await.expect_err("expired");
    assert_eq!(error.kind, ErrorKind::Expired);
    assert!(error.to_string().contains("renew them"), "{error}");
    assert_eq!(recorder.requests().len(), 2);
}

const EXPIRED: (u16, &str) = (
    400,
    "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
);

/// The two credentials of a profile that is read anew: a file that somebody renews while the first are expired.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_read_again_when_its_credentials_have_expired_and_comes_before_the_environment()
 {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("credentials");
    let write = |id: &str| {
        let text = format!("[backup]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
        std::fs::write(dir.path().join("credentials"), text).expect("writable");
    };
    write("old");
    let renewed = file.clone();
    let recorder = Recorder::start(move |request| {
        let old = request.headers["authorization"].contains("Credential=old/");
        if old {
            let text = std::fs::read_to_string(&renewed).expect("there");
            std::fs::write(&renewed, text.replace("old", "new")).expect("writable");
        }
        match old {
            true => Some(EXPIRED),
            false => Some((404, "<Error><Code>NoSuchKey</Code></Error>")),
        }
    })
    .await;
    let url = url(&recorder.endpoint, "p") + "&profile=backup";
    let mut command = crate::tools::binlogfs();
    command
        .args(["ls", &url, "--cache-dir"])
        .arg(dir.path().join("cache"))
        .env("AWS_SHARED_CREDENTIALS_FILE", &file);
    let output = crate::tools::output(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let names: Vec<_> = recorder
        .requests()
        .iter()
        .map(|request| request.headers["authorization"].contains("Credential=new/"))
        .collect();
    assert!(
        names.len() >= 2 && !names[0] && names[1],
        "{names:?} {said}"
    );
    assert!(!said.contains("expired"), "{said}");
}
