//! When bytes may pass: so many in a second by the rate, so many in a round trip by TCP's window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much of the past may be made up for: timers and the scheduler are late by milliseconds, and what was asked for in time
/// shall not lose by it. It is also the longest burst.
const CATCH_UP: Duration = Duration::from_millis(10);

/// A token bucket, kept as the time at which all that was let through has passed.
#[derive(Default)]
pub struct Pace {
    busy_until: Option<Instant>,
}

impl Pace {
    /// Reserves the next `bytes`; when they have passed. Whoever asks later is served later.
    pub fn reserve(&mut self, now: Instant, bytes: u64, bytes_per_second: u64) -> Instant {
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let begins = self.busy_until.map_or(now, |until| until.max(earliest));
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        let passed = begins + takes;
        self.busy_until = Some(passed);
        passed
    }
}

/// What a connection has in flight at most: about what Linux' default buffers (`tcp_rmem`, 6 MiB) let TCP have. With a round trip of
/// 20 ms it makes 210 MB/s, which is more than object stores give one connection.
pub const WINDOW_BYTES: usize = 4 << 20;

/// The bytes of one connection that have left and are not acknowledged yet.
#[derive(Default)]
pub struct Window {
    /// When each piece is acknowledged, and its bytes.
    in_flight: VecDeque<(Instant, usize)>,
    bytes: usize,
}

impl Window {
    /// When the next piece may leave; it is acknowledged a round trip after.
    pub fn leave(&mut self, now: Instant, bytes: usize, round_trip: Duration) -> Instant {
        let mut leaves = now;
        while let Some(&(acknowledged, piece)) = self.in_flight.front() {
            if acknowledged > now && self.bytes + bytes <= WINDOW_BYTES {
                break;
            }
            leaves = leaves.max(acknowledged);
            self.bytes -= piece;
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((leaves + round_trip, bytes));
        self.bytes += bytes;
        leaves
    }
}
