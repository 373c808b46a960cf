//! Names and numbers: the values every other module speaks in, each parsed once into a type that cannot be wrong.

pub mod counted;
pub mod digest;
pub mod gtid;
pub mod gtid_text;
pub mod intervals;
pub mod name;
pub mod tag;
pub(crate) mod text;
pub mod time;
pub mod url;

pub use digest::Sha256;
pub use gtid::{Gtid, GtidSet, GtidSetBuilder, GtidSource};
pub use intervals::Intervals;
pub use name::{
    Basename, FileName, Incarnation, MountName, ObjectKey, SegmentNumber, Seq, Timeline,
};
pub use tag::Tag;
pub use time::Micros;
pub use url::StoreUrl;
