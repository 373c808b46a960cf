//! The S3 store against real servers: its contracts, its conditions, and what it says when something is wrong.

pub mod moto;
pub mod server;

mod conformance;
mod failing;
mod messages;
mod options;
mod overwriting;
pub mod recorder;

use server::{ACCESS_KEY, REGION, SECRET_KEY};

/// The environment of a process that talks to a server of the tests.
pub fn credentials() -> [(&'static str, &'static str); 5] {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", REGION),
        // Nobody answers there, and a test shall not wait for that.
        ("AWS_EC2_METADATA_DISABLED", "true"),
        // The host's own settings are not the test's.
        ("AWS_CONFIG_FILE", "/dev/null"),
    ]
}
