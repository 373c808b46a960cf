//! Others read our objects: the stock `age` and `zstd` programs, and zstd's own seekable reader.

use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};
use zstd_safe::seekable::Seekable;

/// Runs a program that this test cannot do without, feeding it `input`.
fn run(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; the promise that stock tools read an object cannot be tested: install the packages 'age' and 'zstd'")
        });
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            stdin.write_all(input).expect("the program reads its input");
        });
        child.wait_with_output().expect("runs")
    });
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    output.stdout
}

#[test]
fn stock_age_and_zstd_give_the_file_back() {
    let keys = Keys::new();
    let mut key_file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(key_file, "{}", keys.secret).expect("writes");
    let key_path = key_file.path().to_str().expect("a path");
    for (len, frame_size) in [
        (0, 1 << 20),
        (1, 4096),
        (100_000, 4096),
        (3 << 20, 1 << 20),
        ((9 << 20) + 77, 8 << 20),
    ] {
        let plain = content(len, 9);
        let object = write(&plain, &keys.recipients, frame_size);
        let inner = run("age", &["-d", "-i", key_path], &object.bytes);
        assert_eq!(run("zstd", &["-d", "-c"], &inner), plain, "{len} bytes");
        let object = write(&plain, &Recipients::none(), frame_size);
        assert_eq!(
            run("zstd", &["-d", "-c"], &object.bytes),
            plain,
            "{len} bytes"
        );
    }
}

#[test]
fn identity_files_of_age_keygen_are_ours_and_ours_are_theirs() {
    let theirs = String::from_utf8(run("age-keygen", &[], b"")).expect("text");
    let identities = Identities::parse("theirs", &theirs).expect("parses");
    let pair = keygen();
    let ours = pair.identity_file();
    let public = run("age-keygen", &["-y"], ours.expose_secret().as_bytes());
    assert_eq!(String::from_utf8_lossy(&public).trim(), pair.public);
    let recipients = Recipients::parse(identities.public_keys()).expect("public keys");
    let object = write(b"abc", &recipients, 4096);
    assert_eq!(object.read_all(Some(&identities)).expect("reads"), b"abc");
}

#[test]
fn zstds_own_seekable_reader_agrees_about_every_frame_and_random_reads() {
    for (len, frame_size) in [(1, 4096_u32), (8192, 4096), (500_001, 1 << 14)] {
        let plain = content(len, 11);
        let object = write(&plain, &Recipients::none(), frame_size);
        let segment = object.open(None).expect("opens");
        let mut other = Seekable::create();
        other.init_buff(&object.bytes).expect("a seekable file");
        assert_eq!(
            other.num_frames(),
            segment.frames() + 1,
            "ours and the tail"
        );
        for frame in 0..segment.frames() {
            let (ours, plain) = (
                segment.object_range(frame..frame + 1),
                segment.plain_range(frame),
            );
            assert_eq!(
                other.frame_compressed_offset(frame).expect("a frame"),
                ours.start
            );
            assert_eq!(
                other.frame_decompressed_offset(frame).expect("a frame"),
                plain.start
            );
        }
        let mut at = 1_usize;
        for _ in 0..200 {
            at = at.wrapping_mul(0x9E37_79B1).wrapping_add(7) % len;
            let mut buffer = vec![0; (at % 20_000).min(len - at).max(1)];
            let got = other.decompress(&mut buffer[..], at as u64).expect("reads");
            assert_eq!(buffer[..got], plain[at..at + got]);
            assert_eq!(got, buffer.len());
        }
    }
}
