//! The time of day, as archivers are told it: records, journal and alarms bear it, and nothing is decided by it that a wrong
//! clock could do harm to.

use crate::model::Micros;
use std::sync::Arc;

/// The time of day: the system's, or a test's own, in which hours pass in milliseconds and jumps are drawn.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(Micros::now)
}
