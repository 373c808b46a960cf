//! The mount against a model: random operations on both, the answers compared.
//!
//! The model is a directory of plain files, kept in memory. What is compared is played through the kernel, and once more on the
//! view alone, so that a fault which the page cache hides is seen as well. Between the operations segments appear, frames are
//! pushed out, the index is deleted, holes are filled, damaged segments get better copies, and the store fails: then an answer may be one of the documented errors, but never a wrong
//! byte, and once the store is well again everything is right without remounting.

mod face;
mod game;
mod reading;

use crate::fixture::Archive;
use crate::random::Random;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, SharedStore};
use face::{Bare, Face, Kernel, Parts};
use game::{Game, Open};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Operations of one round.
const OPERATIONS: u64 = 120;
/// Rounds of one run; each has an archive of its own.
const ROUNDS: u64 = 4;
/// What a read may take while the store hangs.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long everything may take to be right again: a deadline that ran out is remembered for a second.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// Decoded frames kept: fewer than one large segment has, so that they are pushed out all the time.
const FRAME_BYTES: usize = 96 << 10;
/// What a store that fails may be told as.
const FAULTS: [i32; 3] = [libc::EIO, libc::ETIMEDOUT, libc::ESTALE];

/// A file as it must look.
enum Plain {
    Whole(Vec<u8>),
    /// Readable up to the position.
    Damaged(Vec<u8>, usize),
    Hole,
}

impl Plain {
    fn size(&self) -> u64 {
        match self {
            Plain::Whole(bytes) | Plain::Damaged(bytes, _) => bytes.len() as u64,
            Plain::Hole => 0,
        }
    }

    /// What one read of `len` bytes at `offset` must give.
    fn read(&self, offset: usize, len: usize) -> Result<&[u8], i32> {
        let (bytes, readable) = match self {
            Plain::Whole(bytes) => (bytes, bytes.len()),
            Plain::Damaged(bytes, readable) => (bytes, *readable),
            Plain::Hole => return Err(libc::EIO),
        };
        if offset >= readable {
            return match offset < bytes.len() && len > 0 {
                true => Err(libc::EIO),
                false => Ok(&[]),
            };
        }
        Ok(&bytes[offset..(offset + len).min(readable)])
    }
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Fails,
    Lies,
    Cuts,
    Hangs,
}

const MOODS: [Mood; 4] = [Mood::Fails, Mood::Lies, Mood::Cuts, Mood::Hangs];

/// The store's mood, shared with its clock.
#[derive(Clone, Default)]
struct Weather(Arc<AtomicU8>);

impl Weather {
    fn set(&self, mood: Mood) {
        self.0.store(mood as u8, Ordering::SeqCst);
    }

    fn store(&self, archive: &Archive) -> SharedStore {
        let now = Arc::clone(&self.0);
        let clock = FaultClock::new(move |op| {
            let mood = now.load(Ordering::SeqCst);
            // Some requests are answered well, so that runs are cut in the middle.
            let well = op.n % 3 == 0;
            match mood {
                m if m == Mood::Well as u8 || well => Fault::None,
                m if m == Mood::Fails as u8 => Fault::ErrorBefore(ErrorKind::Transient),
                m if m == Mood::Lies as u8 => Fault::WrongBody,
                m if m == Mood::Cuts as u8 => Fault::TruncatedBody,
                _ => Fault::Delay(Duration::from_secs(3600)),
            }
        });
        Arc::new(FaultStore::new(archive.shared(), clock))
    }
}

fn play<F: Face>(make: fn(&Arc<Runtime>, Parts) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let mut seeds = Random::seeded();
    for _ in 0..ROUNDS {
        let seed = seeds.next();
        println!("round {seed:#x}");
        let mut game = Game::new(&runtime, Random::of(seed), make);
        for _ in 0..OPERATIONS {
            game.step();
        }
        game.heal();
        for (name, plain) in &game.files {
            if let Plain::Whole(bytes) = &**plain {
                let open = Open {
                    handle: game.face().open(name).expect("opens"),
                    name: name.clone(),
                    plain: Arc::clone(plain),
                };
                let mut at = 0;
                while at < bytes.len() {
                    game.compare(&open, at as u64, 1 << 16);
                    at += 1 << 16;
                }
            }
        }
    }
}

#[test]
fn through_the_kernel_it_answers_like_plain_files() {
    play(Kernel::new);
}

#[test]
fn without_the_kernel_it_answers_like_plain_files() {
    play(Bare::new);
}
