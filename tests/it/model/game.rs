//! One round: random operations on the model and on what is compared with it. What is read in it is in `reading.rs`.

use super::face::{Face, Parts, parts};
use super::{DEADLINE, FAULTS, HEALED_WITHIN, MOODS, Mood, Plain, Weather};
use crate::fixture::{Archive, Segment, content};
use crate::random::Random;
use binlogfs::ledger::Entry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// One archive, its model, and the face that is compared with it.
pub struct Game<F> {
    pub runtime: Arc<Runtime>,
    pub archive: Arc<Archive>,
    pub weather: Weather,
    pub mood: Mood,
    pub index: tempfile::TempDir,
    pub make: fn(&Arc<Runtime>, Parts) -> F,
    pub face: Option<F>,
    pub files: BTreeMap<String, Arc<Plain>>,
    /// What each stands for in the ledger.
    pub entries: BTreeMap<String, Entry>,
    pub open: Vec<Open>,
    pub random: Random,
    pub next: u64,
}

/// A file that is open: it stays what it was.
#[derive(Clone)]
pub struct Open {
    pub handle: u64,
    pub name: String,
    pub plain: Arc<Plain>,
}

pub fn name(number: u64) -> String {
    format!("binlog.{number:06}")
}

impl<F: Face> Game<F> {
    pub fn new(
        runtime: &Arc<Runtime>,
        mut random: Random,
        make: fn(&Arc<Runtime>, Parts) -> F,
    ) -> Game<F> {
        let mut game = Game {
            runtime: Arc::clone(runtime),
            archive: Archive::new(random.one_in(2)),
            weather: Weather::default(),
            mood: Mood::Well,
            index: tempfile::tempdir().expect("a directory"),
            make,
            face: None,
            files: BTreeMap::new(),
            entries: BTreeMap::new(),
            open: Vec::new(),
            random,
            next: 1,
        };
        for _ in 0..3 {
            game.archive_one();
        }
        game.mount();
        game
    }

    pub fn face(&self) -> &F {
        self.face.as_ref().expect("it is mounted")
    }

    pub fn mount(&mut self) {
        self.open.clear();
        drop(self.face.take());
        let path = self.index.path().join("index.db");
        let parts = self
            .runtime
            .block_on(parts(&self.archive, &self.weather, &path));
        self.face = Some((self.make)(&self.runtime, parts));
    }

    pub fn archive_one(&mut self) {
        let number = self.next;
        self.next += 1;
        let (entry, plain) = if number > 1 && self.random.one_in(8) {
            (self.archive.add_hole(number), Plain::Hole)
        } else {
            let bytes = content(number, self.random.below(200_000) as usize);
            let readable = self.random.below(bytes.len() as u64 + 1);
            // The first is whole: mounting looks at what it can read.
            let damaged = number > 1 && readable > 0 && self.random.one_in(6);
            let segment = Segment {
                frame_size: 1 << (12 + self.random.below(6)),
                first_bad_position: damaged.then_some(readable),
                ..Segment::new(number, bytes.clone())
            };
            let entry = self.runtime.block_on(self.archive.add(&segment));
            let plain = match damaged {
                true => Plain::Damaged(bytes, readable as usize),
                false => Plain::Whole(bytes),
            };
            (entry, plain)
        };
        self.files.insert(name(number), Arc::new(plain));
        self.entries.insert(name(number), entry);
    }

    /// Fills a hole, or has a better copy of what is damaged, of any size and with other bytes.
    pub fn mend(&mut self) {
        let broken = self.files.iter();
        let mut broken = broken.filter(|(_, plain)| !matches!(***plain, Plain::Whole(_)));
        let Some((name, _)) = broken.next() else {
            return;
        };
        if self.mood != Mood::Well {
            return;
        }
        let (name, entry) = (name.clone(), self.entries[name].clone());
        let bytes = content(self.random.next(), 1 + self.random.below(200_000) as usize);
        let segment = Segment::new(entry.number.0, bytes.clone());
        self.runtime
            .block_on(self.archive.supersede(&entry, &segment));
        self.face().look_again();
        let is_seen = || {
            let face = self.face();
            if face.size(&name) != Ok(bytes.len() as u64) {
                return false;
            }
            let Ok(handle) = face.open(&name) else {
                return false;
            };
            let read = face.read(handle, 0, bytes.len());
            face.close(handle);
            read.is_ok_and(|got| got == bytes)
        };
        let begun = Instant::now();
        while !is_seen() {
            assert!(begun.elapsed() < HEALED_WITHIN, "{name} was not mended");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.files.insert(name, Arc::new(Plain::Whole(bytes)));
    }

    pub fn any_name(&mut self) -> String {
        // One of them is not there yet.
        name(1 + self.random.below(self.next))
    }

    pub fn step(&mut self) {
        // Each read waits for its deadline then: a few tell enough.
        if self.mood == Mood::Hangs && self.random.one_in(3) {
            return self.heal();
        }
        match self.random.below(21) {
            0 => self.list(),
            1 | 2 => self.stat(),
            3..=5 => self.open_one(),
            6..=12 => self.read_one(),
            13 => self.read_through(),
            14 => self.read_many(),
            15 => self.grow(),
            16 => self.forget_one(),
            17 => self.close_one(),
            18 => self.change_weather(),
            19 => self.mend(),
            _ => self.remount(),
        }
    }

    pub fn list(&mut self) {
        let mut random = Random::of(self.random.next());
        let names = self.face().names(&mut random);
        let expected: Vec<_> = self.files.keys().cloned().collect();
        assert_eq!(names, expected);
    }

    pub fn stat(&mut self) {
        let name = self.any_name();
        let expected = self.files.get(&name).map(|plain| plain.size());
        let expected = expected.ok_or(libc::ENOENT);
        assert_eq!(self.face().size(&name), expected, "{name}");
    }

    pub fn open_one(&mut self) {
        let name = self.any_name();
        let opened = self.face().open(&name);
        let Some(plain) = self.files.get(&name).cloned() else {
            return assert_eq!(opened, Err(libc::ENOENT), "{name}");
        };
        if matches!(*plain, Plain::Hole) {
            return assert_eq!(opened, Err(libc::EIO), "{name}");
        }
        match opened {
            Ok(handle) => self.open.push(Open {
                handle,
                name,
                plain,
            }),
            Err(errno) => assert!(self.may_be(errno), "{name}: errno {errno}, {:?}", self.mood),
        }
    }

    pub fn grow(&mut self) {
        if self.next > 14 {
            return;
        }
        self.archive_one();
        let newest = name(self.next - 1);
        self.face().look_again();
        let begun = Instant::now();
        while self.face().size(&newest).is_err() {
            assert!(begun.elapsed() < HEALED_WITHIN, "{newest} did not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn forget_one(&mut self) {
        if let Some(open) = self.any_open() {
            self.face().forget(open.handle);
        }
    }

    pub fn close_one(&mut self) {
        if let Some(closed) = self.any_open() {
            self.face().close(closed.handle);
            self.open.retain(|open| open.handle != closed.handle);
        }
    }

    pub fn change_weather(&mut self) {
        if self.mood == Mood::Well {
            self.mood = MOODS[self.random.below(MOODS.len() as u64) as usize];
            self.weather.set(self.mood);
            return;
        }
        self.heal();
    }

    /// The store is well again, and soon all that is open reads well, on the same handles.
    pub fn heal(&mut self) {
        self.weather.set(Mood::Well);
        let begun = Instant::now();
        for open in &self.open {
            let name = &open.name;
            let Ok(expected) = open.plain.read(0, 8192) else {
                continue;
            };
            loop {
                match self.face().read(open.handle, 0, 8192) {
                    Ok(got) if got == expected => break,
                    // A wrong byte would be a short read too, but no reader that shares the model's bytes is one.
                    Ok(got) => assert!(expected.starts_with(&got), "{name}: other bytes"),
                    Err(errno) => assert!(FAULTS.contains(&errno), "{name}: errno {errno}"),
                }
                assert!(begun.elapsed() < HEALED_WITHIN, "{name} is not read again");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.mood != Mood::Well {
            // What failed on other pages is forgotten as well, also what the kernel reads ahead and nobody waits for.
            std::thread::sleep(DEADLINE + binlogfs::cache::failed::FAILURE_MEMORY);
        }
        self.mood = Mood::Well;
    }

    /// Sometimes without the index that was there.
    pub fn remount(&mut self) {
        if !self.random.one_in(4) {
            return;
        }
        if self.mood != Mood::Well {
            self.heal();
        }
        drop(self.face.take());
        if self.random.one_in(2) {
            std::fs::remove_file(self.index.path().join("index.db")).expect("it was there");
        }
        self.mount();
    }
}
