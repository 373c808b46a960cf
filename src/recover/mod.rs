//! Recovery: what to replay, from where, and up to which byte.
//!
//! # The rule
//! A [`Target`] is a *boundary* between two transactions of one timeline, found by **commit time**: of a moment, before the first
//! transaction that was committed after it ([`crate::locate`] says the whole rule). A [`Plan`] is everything between where a base
//! backup ends ([`Start`]) and that boundary, in replay order.
//!
//! # What is refused
//! A plan never crosses a timeline's border, a hole, a gap, a lost record, a damaged segment or GTIDs that no segment holds:
//! whoever replays over one of those gets a server that never existed. A [`Refusal`] says which it is, the nearest points that
//! can be reached, and what can be done instead. Commands end with exit code 4.
//!
//! # What this module is
//! [`Planner`] asks the index and the locator and gives a plan or a refusal; it changes nothing anywhere. Applying a plan to a
//! server is another matter ([`crate::replay`]).

mod ahead;
mod begin;
mod clock;
mod coverage;
mod gtids;
mod legs;
mod obstacle;
mod pieces;
mod plan;
mod planner;
mod reach;
mod refusal;
mod script;
mod stop;
mod stream;
mod target;
mod torn;

pub use ahead::FirstDdl;
pub use clock::StopDatetime;
pub use legs::Leg;
pub use pieces::{Piece, Pieces};
pub use plan::{Begin, LeftOut, Place, Plan, Question, Stop};
pub use planner::{PlanError, Planner};
pub use refusal::{Reachable, Refusal, RefusalKind};
pub use stream::{Origin, PlanStream, Written};
pub use target::{NoZone, Start, Target};
