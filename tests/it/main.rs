//! The integration tests: one binary, because linking is what costs.

mod archive;
mod corpus;
mod fixture;
mod house;
mod mount;
mod mysql;
mod read_path;
mod refusals;
mod second_opinion;
mod sweep;
mod synthetic;
mod tools;
mod whole_path;
