//! The integration tests: one binary, because linking is what costs.

mod archive;
mod corpus;
mod house;
mod mysql;
mod refusals;
mod second_opinion;
mod sweep;
mod synthetic;
mod tools;
mod whole_path;
