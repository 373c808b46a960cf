//! The integration tests: one binary, because linking is what costs.

#[allow(
    dead_code,
    reason = "a harness offers more than the tests of one day use"
)]
mod corpus;
#[allow(
    dead_code,
    reason = "a harness offers more than the tests of one day use"
)]
mod mysql;
mod second_opinion;
#[allow(
    dead_code,
    reason = "a harness offers more than the tests of one day use"
)]
mod tools;
