//! One cell of the matrix, carried out: the damage is done to a copy of a stream, and readers and archivers meet it.

use super::bench::{Bench, Host};
use super::matrix::{Damage, Expected, Place, Run, View};
use super::stream::{Stream, name};
use crate::tools;
use std::fs::{self, File};
use std::io::Read as _;

/// A damage at a place, and what must come of it.
pub struct Cell<'a> {
    pub bench: &'a Bench,
    pub place: Place,
    pub damage: Damage,
}

impl Cell<'_> {
    /// Carries it out.
    pub fn check(&self, expected: Expected) {
        let Expected::Happens {
            knowing_reader,
            fresh_reader,
            knowing_archiver,
            fresh_archiver,
        } = expected
        else {
            return;
        };
        for (host, view) in [(Host::Knowing, knowing_reader), (Host::Fresh, fresh_reader)] {
            if !self.place.concerns(host) {
                continue;
            }
            let stream = self.bench.damaged(self.place, self.damage, host);
            self.check_reader(&stream, host, view, fresh_reader);
        }
        for (host, run) in [
            (Host::Knowing, knowing_archiver),
            (Host::Fresh, fresh_archiver),
        ] {
            if !self.place.concerns(host) {
                continue;
            }
            let stream = self.bench.damaged(self.place, self.damage, host);
            self.check_archiver(&stream, host, run, fresh_reader);
        }
    }

    fn what(&self, host: Host, doing: &str) -> String {
        format!("{:?} {:?}, {} host, {doing}", self.place, self.damage, host)
    }

    /// The words, with the damaged segment's name and key in them.
    fn words(&self, words: &[&str]) -> Vec<String> {
        let (name, key) = self.bench.victim(self.place);
        let filled = |word: &&str| word.replace("{name}", &name).replace("{key}", &key);
        words.iter().map(filled).collect()
    }

    fn says(&self, said: &str, words: &[&str], what: &str) {
        for word in self.words(words) {
            assert!(said.contains(&word), "{what}: no '{word}' in: {said}");
        }
    }

    fn check_reader(&self, stream: &Stream, host: Host, view: View, fresh: View) {
        let what = |doing: &str| self.what(host, doing);
        self.check_cat(stream, view, &what("cat"));
        let url = stream.archive.url();
        // What an object holds is only seen by reading it: `ls` and `status` speak of records.
        let record_lost = matches!(view, View::Unreadable(_)) && !self.place.is_object();
        let (ls, status) = match view {
            View::Alarm(_) => (1, 1),
            View::Warned(_) => (3, 3),
            _ if record_lost => (0, 3),
            View::Whole | View::Unreadable(_) | View::Shorter => (0, 0),
        };
        for (command, code) in [("ls", ls), ("status", status)] {
            let said = stream.ends(&[command, &url], code, &what(command));
            match view {
                View::Alarm(words) | View::Warned(words) => {
                    self.says(&said, words, &what(command));
                }
                View::Unreadable(words) if record_lost && code == 3 => {
                    self.says(&said, words, &what(command));
                }
                View::Unreadable(_) if record_lost => {
                    let entries = stream.archive.ls(&[]);
                    let lost = entries.iter().filter(|entry| entry["state"] == "lost");
                    assert_eq!(lost.count(), 1, "{}", what(command));
                }
                View::Whole | View::Unreadable(_) | View::Shorter => {}
            }
        }
        self.check_verify(stream, host, view, fresh);
        self.check_mount(stream, view, &what("mount"));
    }

    fn check_cat(&self, stream: &Stream, view: View, what: &str) {
        let victim = self.bench.victim_number(self.place);
        for n in self.bench.sample() {
            let said = stream.cat_says(n, what);
            match (view, said) {
                (View::Alarm(words) | View::Warned(words), Some(said)) => {
                    self.says(&said, words, what);
                }
                (View::Unreadable(words), Some(said)) if n == victim && self.place.is_object() => {
                    self.says(&said, words, what);
                }
                (View::Unreadable(_) | View::Shorter, Some(said)) if n == victim => {
                    // Its name is gone with its record; the lost record stands beside it.
                    assert!(said.contains(&name(n)), "{what}: {said}");
                }
                (View::Whole | View::Unreadable(_) | View::Shorter, None) if n != victim => {}
                (View::Whole, None) => {}
                (_, said) => panic!("{what}: {} ended with {said:?}", name(n)),
            }
        }
    }

    /// `verify` believes no index: it meets what a fresh reader meets, and this host's memory of more records.
    fn check_verify(&self, stream: &Stream, host: Host, view: View, fresh: View) {
        let what = self.what(host, "verify --deep");
        let url = stream.archive.url();
        let knows_more = view != fresh && self.place == Place::NewestRecord;
        let code = match fresh {
            View::Whole => 0,
            View::Shorter if !knows_more => 0,
            View::Unreadable(_) | View::Shorter | View::Warned(_) => 3,
            View::Alarm(_) => 1,
        };
        let said = match code {
            3 => stream.findings(&what).join("\n"),
            _ => stream.ends(&["verify", &url, "--deep"], code, &what),
        };
        match fresh {
            View::Unreadable(words) | View::Alarm(words) | View::Warned(words) => {
                self.says(&said, words, &what);
            }
            View::Shorter if knows_more => self.says(&said, &["record 4", "record 5"], &what),
            View::Whole | View::Shorter => {}
        }
    }

    fn check_mount(&self, stream: &Stream, view: View, what: &str) {
        if let View::Alarm(words) = view {
            let dir = stream.archive.path("mnt");
            let arguments = ["mount", &stream.archive.url(), dir.to_str().expect("text")];
            let said = stream.ends(&arguments, 1, what);
            return self.says(&said, words, what);
        }
        let log = stream.archive.path("mount.log");
        let options = ["--log-file", log.to_str().expect("text")];
        let mounted = stream.archive.mount_with(&options);
        let victim = self.bench.victim_number(self.place);
        for n in self.bench.sample() {
            let mut bytes = Vec::new();
            let read = File::open(mounted.dir().join(name(n)))
                .and_then(|mut file| file.read_to_end(&mut bytes));
            let truth = &stream.truth[n];
            assert!(
                truth.starts_with(&bytes),
                "{what}: wrong bytes of {}",
                name(n)
            );
            match (view, read) {
                (View::Unreadable(words), Err(error)) if n == victim && self.place.is_object() => {
                    let errno = error.raw_os_error().expect("the kernel's");
                    assert!(
                        [libc::EIO, libc::ESTALE].contains(&errno),
                        "{what}: {error}"
                    );
                    let said = fs::read_to_string(&log).expect("text");
                    self.says(&said, words, what);
                }
                (View::Unreadable(_) | View::Shorter, Err(error)) if n == victim => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{what}");
                }
                (View::Whole | View::Warned(_), Ok(_)) => {
                    assert!(bytes == *truth, "{what}: {} is short", name(n));
                }
                (_, Ok(_)) if n != victim => {
                    assert!(bytes == *truth, "{what}: {} is short", name(n));
                }
                (_, read) => panic!("{what}: {} ended with {read:?}", name(n)),
            }
        }
        if matches!(view, View::Unreadable(_)) && !self.place.is_object() {
            let lost = format!("{}.0", name(victim - 1));
            let error = File::open(mounted.dir().join(lost)).expect_err("lost");
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{what}");
        }
    }

    fn check_archiver(&self, stream: &Stream, host: Host, run: Run, fresh: View) {
        let what = self.what(host, "archive");
        let written = || {
            let archive = &stream.archive;
            (archive.keys("ledger"), archive.keys("segments"))
        };
        let before = written();
        let source = stream.archive.data();
        let output = tools::output(&mut stream.archive.archive_command(&source));
        let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
        match run {
            Run::Refuses(words) => {
                assert_eq!(output.status.code(), Some(1), "{what}: {said}");
                self.says(&said, words, &what);
                assert_eq!(written(), before, "{what}: the bucket was written to");
            }
            Run::Archives(count) => {
                assert_eq!(output.status.code(), Some(0), "{what}: {said}");
                let wanted = format!("archived {count} segment");
                assert!(said.contains(&wanted), "{what}: {said}");
                self.check_after(stream, fresh, &what);
            }
        }
    }

    /// After a run all is there, save what the damage made unreadable; the archiver's own files are right again.
    fn check_after(&self, stream: &Stream, fresh: View, what: &str) {
        stream.forget();
        let victim = self.bench.victim_number(self.place);
        let unreadable = matches!(fresh, View::Unreadable(_));
        for n in self.bench.sample().chain([stream.truth.len() - 1]) {
            let said = stream.cat_says(n, what);
            assert_eq!(
                said.is_some(),
                unreadable && n == victim,
                "{what}, then cat {}: {said:?}",
                name(n)
            );
        }
        let text = fs::read(stream.archive.path("state/state.json")).expect("there");
        let manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let newest = name(stream.truth.len() - 1);
        assert_eq!(manifest["last_archived"]["file"], newest.as_str(), "{what}");
        let said = tools::run_text(&mut stream.archive.archive_command(&stream.archive.data()));
        assert!(
            said.contains("archived 0 segments"),
            "{what}, again: {said}"
        );
    }
}
