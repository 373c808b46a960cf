//! Fuzzes store URLs: one that is taken prints as a URL that means the same, and so does that.

#![no_main]

mod allocations;
mod seeds;

use binlogfs::model::StoreUrl;
use binlogfs::model::url::Location;
use libfuzzer_sys::fuzz_target;
use std::path::Component;

/// An error repeats no more of a URL than its place, cut short.
const ERROR_BYTES_MAX: usize = 3000;

fuzz_target!(init: seeds::write_if_asked(seeds), |data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
});

fn check(text: &str) {
    let url = match text.parse::<StoreUrl>() {
        Ok(url) => url,
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < ERROR_BYTES_MAX, "{said}");
            return;
        }
    };
    let printed = url.to_string();
    let again: StoreUrl = printed.parse().expect("its own text");
    assert_eq!(again, url);
    assert_eq!(again.to_string(), printed);
    assert!(!printed.chars().any(char::is_control));
    match &url.location {
        Location::File { dir } => {
            assert!(dir.is_absolute());
            let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
            assert!(dir.components().all(plain), "{dir:?}");
        }
        Location::S3 { bucket, prefix } | Location::Gcs { bucket, prefix } => {
            assert!(!bucket.is_empty());
            assert!(!prefix.split('/').any(|part| matches!(part, "." | "..")));
            assert!(!prefix.starts_with('/') && !prefix.ends_with('/'));
        }
    }
    if let Some(endpoint) = &url.endpoint {
        assert!(!endpoint.contains('@'), "an endpoint with credentials");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "s3://bucket/prod/orders?endpoint=http://127.0.0.1:9000&region=eu-west-1&path_style=true",
        "gs://bucket/prod?endpoint=http://h:1",
        "s3://b/p?profile=p&sse=aws:kms&sse_kms_key=alias/k&storage_class=STANDARD_IA&requester_pays=true",
        "file:///var/./archive//x/",
        "s3://key:secret@bucket/prefix?secret_key=x",
    ]
    .map(|url| url.as_bytes().to_vec())
    .into()
}
