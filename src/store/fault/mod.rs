//! Faults on demand, to sweep a protocol: count the operations of a run, then fail at each one in turn.
//!
//! A [`FaultClock`] counts every operation of a run, and its plan says what goes wrong at which. [`FaultStore`] steps
//! the clock at each verb; a journal or an index steps the same clock, so that one sweep meets all of them in the order
//! of the run:
//!
//! ```
//! # use binlogfs::store::fault::{Fault, FaultClock};
//! # fn scenario(_: std::sync::Arc<FaultClock>) {}
//! let calm = FaultClock::calm();
//! scenario(calm.clone());
//! for n in 0..calm.count() {
//!     for fault in [Fault::CrashBefore, Fault::CrashAfter] {
//!         scenario(FaultClock::nth(n, fault)); // then restart on the same store with a calm clock, and compare
//!     }
//! }
//! ```

mod clock;
mod in_pieces;
mod store;

pub use clock::{Crashed, Fault, FaultClock, Op};
pub use in_pieces::{InPieces, Step};
pub use store::FaultStore;
