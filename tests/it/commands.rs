//! How the commands speak: JSON when asked for, each thing said once, the exit code that the table says.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs::File;
use std::process::{Command, Output};

/// An encrypted stream of two segments, and the server that they came from.
fn archived() -> (Archive, SyntheticServer) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    server.rotate(2, 100);
    archive.archive(server.dir());
    (archive, server)
}

/// What a command of `archive` says without its key.
fn without_key(archive: &Archive, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tools::binlogfs();
    command
        .args(arguments)
        .arg("--cache-dir")
        .arg(archive.path("cache"));
    said(&mut command)
}

/// Exit code and stderr of `command`.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = tools::output(command);
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn every_command_prints_one_json_document_when_asked_to() {
    let (archive, server) = archived();
    let url = archive.url();
    let key = archive.path("another.txt");
    let commands: [&[&str]; 6] = [
        &["ls", &url],
        &["status", &url],
        &["verify", "--deep", "--orphans", &url],
        &["index", "rebuild", &url],
        &["keygen"],
        &["keygen", "-o", key.to_str().expect("text")],
    ];
    for arguments in commands {
        let printed = tools::run(archive.command(arguments).arg("--json"));
        let parsed = serde_json::from_slice::<serde_json::Value>(&printed);
        parsed.unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    }
    let printed = tools::run(archive.archive_command(server.dir()).arg("--json"));
    let outcome: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(outcome["archived"], serde_json::json!([]));
    let (code, error) = said(
        archive
            .command(&["ls", &url, "--timeline", "7"])
            .arg("--json"),
    );
    let error: serde_json::Value = serde_json::from_str(&error).expect("an error is JSON too");
    assert_eq!(code, Some(1));
    assert!(error["error"].as_str().expect("text").contains("timeline"));
}

#[test]
fn a_hole_is_a_finding_of_status_and_verify_and_stops_cat() {
    let (archive, mut server) = archived();
    server.rotate(2, 100);
    server.purge(3);
    server.rotate(2, 100);
    archive.archive(server.dir());
    for command in ["status", "verify"] {
        let output = archive.output(&[command, &archive.url()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{command}: {text}");
        assert!(text.contains("binlog.000003"), "{command}: {text}");
        assert!(text.contains("1 finding\n"), "{command}: {text}");
    }
    let output = archive.output(&["cat", &archive.url()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is written before a hole");
}

#[test]
fn without_a_key_a_mount_warns_and_a_deep_verify_fails_without_findings() {
    let (archive, _server) = archived();
    let (url, mount) = (archive.url(), archive.path("mnt"));
    let (code, error) = without_key(&archive, &["verify", "--deep", &url]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("2 segments are encrypted"), "{error}");
    assert!(error.contains("--identity"), "{error}");
    let mount = mount.to_str().expect("text");
    let (code, error) = without_key(&archive, &["mount", &url, mount]);
    tools::run(Command::new("umount").arg(mount));
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("--identity"), "{error}");
}

#[test]
fn an_error_says_each_cause_once_and_without_colours() {
    let (archive, _server) = archived();
    let (code, error) = said(&mut archive.archive_command(&archive.path("nowhere")));
    assert_eq!(code, Some(1));
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
    let other = archive.path("other.txt");
    tools::run(tools::binlogfs().arg("keygen").arg("-o").arg(&other));
    let other = other.to_str().expect("text");
    let (code, error) = without_key(&archive, &["cat", &archive.url(), "--identity", other]);
    assert_eq!(code, Some(1));
    assert_eq!(error.matches("is not encrypted for").count(), 1, "{error}");
    assert!(!error.contains('\x1b'), "{error:?}");
}

#[test]
fn a_full_standard_output_is_named_and_a_reader_that_leaves_is_no_failure() {
    let (archive, _server) = archived();
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("opens")
    };
    for name in ["ls", "cat"] {
        let (code, error) = said(archive.command(&[name, &archive.url()]).stdout(full()));
        assert_eq!(code, Some(1), "{name}: {error}");
        assert!(error.contains("standard output"), "{name}: {error}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, error) = said(archive.command(&[name, &archive.url()]).stdout(writer));
        assert_eq!((code, error.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn the_version_is_one_line_everything_with_verbose_and_a_document_with_json() {
    let print = |arguments: &[&str]| tools::run_text(tools::binlogfs().args(arguments));
    let line = print(&["--version"]);
    assert!(line.starts_with("binlogfs 0."), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for arguments in [["--version", "--verbose"], ["--verbose", "-V"]] {
        let text = print(&arguments);
        assert!(text.starts_with(&line), "{text}");
        for fact in ["commit", "compiler", "target", "profile", "formats"] {
            let told = text.lines().any(|line| line.starts_with(fact));
            assert!(told, "{fact}: {text}");
        }
    }
    let document: serde_json::Value =
        serde_json::from_str(&print(&["--json", "-V"])).expect("JSON");
    assert!(document["formats"]["segment"].is_u64(), "{document}");
}

#[test]
fn the_completions_of_bash_are_a_script_that_bash_reads() {
    let script = tools::run_text(tools::binlogfs().args(["completions", "bash"]));
    let complete = format!(
        "{script}\nCOMP_WORDS=(binlogfs purge)\nCOMP_CWORD=1\n_binlogfs binlogfs purge binlogfs\necho \"${{COMPREPLY[@]}}\""
    );
    let said = tools::run_text(Command::new("bash").arg("-c").arg(complete));
    assert_eq!(said, "purge-safe\n");
}

#[test]
fn man_pages_are_written_to_a_directory_and_dated_by_the_source() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = tools::binlogfs();
    command.arg("generate-man").arg(dir.path());
    let names = tools::run_text(command.env("SOURCE_DATE_EPOCH", "1764158731"));
    assert!(names.lines().count() > 20, "{names}");
    let page = dir.path().join("binlogfs-archive.1");
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains(".SH NAME"), "{page}");
}

#[test]
fn status_of_nothing_is_wrong_usage_and_says_what_to_name() {
    if std::path::Path::new("/etc/binlogfs.toml").exists() {
        // Then it is of the streams of that.
        return;
    }
    for json in [false, true] {
        let mut command = tools::binlogfs();
        command.arg("status").args(json.then_some("--json"));
        let (code, said) = said(&mut command);
        assert_eq!(code, Some(2), "{said}");
        for part in ["of which stream?", "/etc/binlogfs.toml", "--config"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
