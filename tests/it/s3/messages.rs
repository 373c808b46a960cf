//! What goes wrong with an S3 server, and what the archiver says then: the reason, the next step, exit code 1, nothing half-written.

use super::moto::{Moto, free_address};
use super::server::{BUCKET, S3Server};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A server, a source with three closed files, and an archive's directories.
struct Case {
    s3: S3Server,
    archive: Archive,
    source: SyntheticServer,
}

impl Case {
    fn new() -> Case {
        let archive = Archive::encrypted();
        let mut source = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..3).for_each(|_| source.rotate(3, 1000));
        let s3 = S3Server::start(&archive.path("s3-server"));
        Case {
            s3,
            archive,
            source,
        }
    }

    fn command(&self, url: &str) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(["archive", "--once", "--to", url, "--recipient"])
            .arg(self.archive.recipient())
            .arg("--source")
            .arg(self.source.dir())
            .arg("--state-dir")
            .arg(self.archive.path("state"));
        command
    }

    /// Every object of the bucket.
    fn objects(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).expect("a directory").flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.archive.path("s3-server").join(BUCKET), &mut found);
        found
    }
}

/// Runs `command`, which must end with 1 and say all `parts`, and no secret; what it said.
#[track_caller]
fn refused(command: &mut Command, parts: &[&str]) -> String {
    let said = tools::refused(command, 1, parts);
    assert!(
        !said.contains(super::server::SECRET_KEY),
        "a secret is in: {said}"
    );
    said
}

#[test]
fn wrong_credentials_are_named_and_nothing_is_written() {
    let case = Case::new();
    let url = case.s3.url("prod");
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
    ] {
        let mut command = case.command(&url);
        command.env(name, value);
        refused(&mut command, &["credentials", "renew them", &url]);
    }
    let mut command = case.command(&url);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    refused(&mut command, &["credentials are missing"]);
    assert!(case.objects().is_empty());
}

#[test]
fn a_missing_bucket_is_named() {
    let case = Case::new();
    // s3s-fs makes the buckets that it is asked for.
    let moto = Moto::start();
    let url = moto.url("prod").replace(BUCKET, "no-such-bucket");
    refused(
        &mut case.command(&url),
        &[
            "no-such-bucket",
            "bucket or directory does not exist",
            "create it",
        ],
    );
}

#[test]
fn without_the_permission_to_list_the_message_names_it() {
    let case = Case::new();
    let url = case.s3.url("prod");
    case.s3.deny("ListObjectsV2");
    refused(&mut case.command(&url), &["s3:ListBucket", "list"]);
}

#[test]
fn without_the_permission_to_write_nothing_is_left() {
    let case = Case::new();
    let url = case.s3.url("prod");
    case.s3.deny("PutObject");
    refused(
        &mut case.command(&url),
        &["s3:PutObject", "permission denied"],
    );
    assert!(case.objects().is_empty());
    case.s3.allow_all();
    tools::run(&mut case.command(&url));
}

#[test]
fn a_policy_that_denies_overwriting_hides_the_condition_and_the_message_says_so() {
    let case = Case::new();
    let url = case.s3.url("prod");
    case.s3.deny_overwrites();
    refused(
        &mut case.command(&url),
        &["stream.json", "If-None-Match", "s3:PutObject"],
    );
    assert_eq!(case.objects().len(), 1, "only stream.json");
    case.s3.allow_all();
    tools::run(&mut case.command(&url));
}

#[test]
fn an_archiver_that_may_not_delete_archives_all_the_same_and_then_says_what_is_left() {
    let case = Case::new();
    let url = case.s3.url("prod");
    let count = |part: &str| {
        let objects = case.objects();
        objects.iter().filter(|path| path.contains(part)).count()
    };
    case.s3.deny("DeleteObject");
    // Uploaded, and never recorded.
    case.s3.deny_puts_to("/ledger/");
    refused(&mut case.command(&url), &["s3:PutObject", "ledger/"]);
    let left = count("/segments/");
    assert!(left > 0 && count("/ledger/") == 0);

    case.s3.allow_all();
    case.s3.deny("DeleteObject");
    let said = refused(
        &mut case.command(&url),
        &["s3:DeleteObject", "verify --orphans", "segments/"],
    );
    assert_eq!(count("/ledger/"), 3, "{said}");
    assert_eq!(count("/segments/"), 3 + left);

    case.s3.allow_all();
    tools::run(&mut case.command(&url));
    assert_eq!(count("/segments/"), 3, "the next run that may removes them");
}

#[test]
fn a_clock_that_is_wrong_is_named_with_the_way_out() {
    let case = Case::new();
    let url = case.s3.url("prod");
    let straight = case.command(&url);
    let mut command = Command::new("faketime");
    command.args(["-f", "+2h"]).arg(straight.get_program());
    command.args(straight.get_args());
    command.envs(super::credentials());
    refused(&mut command, &["clock", "NTP"]);
    assert!(case.objects().is_empty());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_with_the_way_out() {
    let case = Case::new();
    let moto = Moto::start_with_own_certificate();
    refused(
        &mut case.command(&moto.url("prod")),
        &["no encrypted connection", "SSL_CERT_FILE"],
    );
}

#[test]
fn https_to_a_server_that_speaks_http_is_named_as_such() {
    let case = Case::new();
    let url = case.s3.url("prod").replace("http://", "https://");
    refused(
        &mut case.command(&url),
        &["no encrypted connection", "http or https?"],
    );
}

#[test]
fn a_host_without_root_certificates_is_told_what_to_install() {
    let case = Case::new();
    let url = case.s3.url("prod").replace("http://", "https://");
    let mut command = case.command(&url);
    command
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent");
    refused(&mut command, &["root certificates", "ca-certificates"]);
}

#[test]
fn a_server_that_is_not_there_is_named_after_the_retries() {
    let case = Case::new();
    let url = super::server::url(&format!("http://{}", free_address()), "prod");
    refused(&mut case.command(&url), &[&url, "passing fault"]);
}

#[test]
fn without_any_region_the_message_says_where_to_set_one() {
    let case = Case::new();
    let mut command = case.command("s3://binlogs/prod");
    command.env_remove("AWS_REGION");
    refused(&mut command, &["region", "?region=", "AWS_REGION"]);
}

/// What S3 answers for a bucket of another region ("PermanentRedirect" and "AuthorizationHeaderMalformed" of its error responses):
/// no server that runs here has regions.
#[test]
fn a_bucket_in_another_region_is_named_with_its_region() {
    let case = Case::new();
    for (status, headers, body) in [
        (
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-central-1\r\n",
            "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message></Error>",
        ),
        (
            "400 Bad Request",
            "",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'</Message><Region>eu-central-1</Region></Error>",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut request = [0; 16384];
                let _ = client.read(&mut request);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        let url = super::server::url(&endpoint, "prod");
        refused(
            &mut case.command(&url),
            &["region", "eu-central-1", "?region="],
        );
    }
}
