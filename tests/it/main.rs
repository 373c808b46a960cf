//! The integration tests: one binary, because linking is what costs.

mod archive;
mod commands;
mod corpus;
mod damage;
mod fixture;
mod glob_order;
mod holes;
mod hostile;
mod house;
mod kill;
mod mount;
mod mysql;
mod race;
mod read_path;
mod refusals;
mod second_opinion;
mod sweep;
mod synthetic;
mod tools;
mod whole_path;
