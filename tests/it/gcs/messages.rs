//! What goes wrong with a bucket, and what the archiver says then: the reason, the next step, exit code 1.

use super::emulator::{BUCKET, Emulator, url};
use super::model::{Model, Trouble};
use crate::archive::Archive;
use crate::s3::moto::free_address;
use crate::s3::recorder::Recorder;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::process::Command;

/// A source with three closed files, and an archive's directories.
struct Case {
    archive: Archive,
    source: SyntheticServer,
}

impl Case {
    fn new() -> Case {
        let archive = Archive::encrypted();
        let mut source = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..3).for_each(|_| source.rotate(3, 1000));
        Case { archive, source }
    }

    fn command(&self, url: &str) -> Command {
        let mut command = self.archive.archive_command_to(url, self.source.dir());
        command.arg("--state-dir").arg(self.archive.path("state"));
        command.env_remove("STORAGE_EMULATOR_HOST");
        command
    }
}

#[test]
fn the_environment_names_the_emulator_with_and_without_the_scheme() {
    let case = Case::new();
    let root = case.archive.path("emulator");
    let emulator = Emulator::start(&root);
    for (prefix, host) in [
        ("with", emulator.endpoint()),
        ("without", emulator.endpoint().trim_start_matches("http://")),
    ] {
        let mut command = case.command(&format!("gs://{BUCKET}/{prefix}"));
        tools::run(command.env("STORAGE_EMULATOR_HOST", host));
        let ledger = root.join(BUCKET).join(prefix).join("ledger");
        let records = std::fs::read_dir(ledger).expect("a ledger").count();
        assert_eq!(records, 3);
        let _ = std::fs::remove_dir_all(case.archive.path("state"));
    }
}

#[test]
fn a_missing_bucket_is_named() {
    let case = Case::new();
    let emulator = Emulator::start(&case.archive.path("emulator"));
    let url = emulator.url("prod").replace(BUCKET, "no-such-bucket");
    tools::refused(
        &mut case.command(&url),
        1,
        &[
            "no-such-bucket",
            "bucket or directory does not exist",
            "create it",
        ],
    );
}

#[test]
fn a_server_that_is_not_there_is_named_after_the_retries() {
    let case = Case::new();
    let url = url(&format!("http://{}", free_address()), "prod");
    tools::refused(&mut case.command(&url), 1, &[&url, "passing fault"]);
}

#[test]
fn https_to_a_server_that_speaks_http_is_named_as_such() {
    let case = Case::new();
    let emulator = Emulator::start(&case.archive.path("emulator"));
    let url = emulator.url("prod").replace("http://", "https://");
    let mut command = case.command(&url);
    // A token, since over TLS one is sent.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let token = r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#;
    let gives_tokens = runtime.block_on(Recorder::start(move |_| Some((200, token))));
    with_a_key(&case, &mut command, &gives_tokens.endpoint);
    tools::refused(
        &mut command,
        1,
        &["no encrypted connection", "http or https?"],
    );
}

/// Credentials of which the server at `endpoint` makes a token.
fn with_a_key(case: &Case, command: &mut Command, endpoint: &str) {
    let path = case.archive.path("adc.json");
    let json = format!(
        r#"{{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"the-refresh-token","token_uri":"{endpoint}/token"}}"#
    );
    std::fs::write(&path, json).expect("writable");
    command.env("GOOGLE_APPLICATION_CREDENTIALS", &path);
}

#[test]
fn without_credentials_the_message_says_where_they_come_from() {
    let case = Case::new();
    let mut command = case.command(&format!("gs://{BUCKET}/prod"));
    command.env("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json");
    tools::refused(
        &mut command,
        1,
        &[
            "credentials are missing",
            "/nonexistent/key.json",
            "gcloud auth application-default login",
        ],
    );
}

#[test]
fn credentials_that_are_refused_are_named_with_the_reason_and_without_the_secret() {
    let case = Case::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let revoked = r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#;
    let refuses = runtime.block_on(Recorder::start(move |_| Some((400, revoked))));
    let mut command = case.command(&format!("gs://{BUCKET}/prod"));
    with_a_key(&case, &mut command, &refuses.endpoint);
    let said = tools::refused(
        &mut command,
        1,
        &[
            "credentials",
            "revoked",
            "gcloud auth application-default login",
        ],
    );
    assert!(!said.contains("the-refresh-token"), "{said}");
}

#[test]
fn a_host_without_root_certificates_is_told_what_to_install() {
    let case = Case::new();
    let mut command = case.command(&format!("gs://{BUCKET}/prod"));
    command
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent");
    tools::refused(&mut command, 1, &["root certificates", "ca-certificates"]);
}

#[test]
fn without_a_permission_the_message_names_it_and_a_role_that_has_it() {
    let case = Case::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let denied = r#"{"error":{"code":403,"message":"archiver@p.iam.gserviceaccount.com does not have access.","errors":[{"reason":"forbidden"}]}}"#;
    for (what, parts) in [
        ("GET", ["storage.objects.get", "roles/storage.objectViewer"]),
        (
            "multipart",
            ["storage.objects.create", "roles/storage.objectCreator"],
        ),
    ] {
        let model = runtime.block_on(Model::start(move |_, asked| match asked == what {
            true => Trouble::Answer(403, &[], denied),
            false => Trouble::None,
        }));
        let url = url(&model.endpoint, "prod");
        let mut said = vec!["permission denied", "archiver@p.iam"];
        said.extend(parts);
        tools::refused(&mut case.command(&url), 1, &said);
    }
}

#[test]
fn the_credentials_file_of_a_stream_is_the_one_that_is_used() {
    let case = Case::new();
    // Where nobody listens: without an account nothing is sent.
    let url = url(&format!("https://{}", free_address()), "{tenant}/{cluster}");
    let key = case.archive.path("acme.json");
    std::fs::write(&key, "no key").expect("writable");
    let config = case.archive.path("binlogfs.toml");
    let text = format!(
        "[[tenant]]\nname = \"acme\"\nto = \"{url}\"\ncredentials_file = \"{}\"\nallow_unencrypted = true\n\
         [[stream]]\ntenant = \"acme\"\ncluster = \"orders\"\nsource = \"{}\"\nstate_dir = \"{}\"\n",
        key.display(),
        case.source.dir().display(),
        case.archive.path("state").display(),
    );
    std::fs::write(&config, text).expect("writable");
    let mut command = tools::binlogfs();
    command.args(["archive", "--once", "--config"]).arg(&config);
    command.env_remove("STORAGE_EMULATOR_HOST");
    let output = tools::output(&mut command);
    let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("acme.json is not the key of a service account"),
        "{said}"
    );
}
