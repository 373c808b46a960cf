//! The integration tests: one binary, because linking is what costs.

#[allow(
    dead_code,
    reason = "a harness offers more than the tests of one day use"
)]
mod fixture;
mod mount;
mod read_path;
