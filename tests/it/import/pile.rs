//! A pile of a test: files in a directory, each stored in some way.

use crate::archive::Archive;
use crate::tools;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a file can be stored, by the suffix that it gets.
pub const STORED: [&str; 6] = ["", ".gz", ".zst", ".lz4", ".xz", ".lzma"];

/// A directory of files.
pub struct Pile {
    dir: PathBuf,
}

impl Pile {
    /// An empty one.
    pub fn new(dir: PathBuf) -> Pile {
        fs::create_dir_all(&dir).expect("the temporary directory is writable");
        Pile { dir }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts a file there as it is.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("writable");
        fs::write(path, bytes).expect("writable");
    }

    /// Puts the bytes of `path` there, stored as the suffix says.
    pub fn add(&mut self, name: &str, path: &Path, suffix: &str) {
        let bytes = fs::read(path).expect("readable");
        self.write(&format!("{name}{suffix}"), &stored(&bytes, suffix));
    }

    /// `binlogfs import` of it, not run yet.
    pub fn import(&self, archive: &Archive) -> Command {
        import(archive, self.dir.to_str().expect("text"))
    }

    /// The same with `--json`, which must end with `code`; what it printed.
    #[track_caller]
    pub fn json(&self, archive: &Archive, more: &[&str], code: i32) -> serde_json::Value {
        json(self.import(archive).args(more), code)
    }

    /// What it says on stderr when it ends with `code`.
    #[track_caller]
    pub fn said(&self, archive: &Archive, more: &[&str], code: i32) -> String {
        let output = tools::output(self.import(archive).args(more));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        said
    }
}

/// `binlogfs import FROM` into the archive's stream.
pub fn import(archive: &Archive, from: &str) -> Command {
    let mut command = tools::binlogfs();
    command
        .args(["import", from, "--to", &archive.url()])
        .arg("--state-dir")
        .arg(archive.path("state"))
        .arg("--cache-dir")
        .arg(archive.path("cache"));
    if archive.key().exists() {
        command.args(["--recipient", archive.recipient()]);
    }
    command
}

/// Runs an import with `--json`.
#[track_caller]
pub fn json(command: &mut Command, code: i32) -> serde_json::Value {
    let output = tools::output(command.arg("--json"));
    let said = tools::excerpt(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {said}"))
}

/// Bytes as a file with this suffix holds them.
pub fn stored(bytes: &[u8], suffix: &str) -> Vec<u8> {
    let done = "compressing into memory does not fail";
    match suffix {
        "" => bytes.to_vec(),
        ".gz" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect(done);
            encoder.finish().expect(done)
        }
        ".zst" => zstd::bulk::compress(bytes, 1).expect(done),
        ".lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect(done);
            encoder.finish().expect(done)
        }
        ".xz" => xz(
            bytes,
            liblzma::stream::Stream::new_easy_encoder(0, liblzma::stream::Check::Crc64),
        ),
        ".lzma" => {
            let options = liblzma::stream::LzmaOptions::new_preset(0).expect("a preset");
            xz(bytes, liblzma::stream::Stream::new_lzma_encoder(&options))
        }
        other => panic!("{other}: not one of {STORED:?}"),
    }
}

fn xz(bytes: &[u8], stream: Result<liblzma::stream::Stream, liblzma::stream::Error>) -> Vec<u8> {
    let stream = stream.expect("an encoder");
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    let done = "compressing into memory does not fail";
    encoder.write_all(bytes).expect(done);
    encoder.finish().expect(done)
}
