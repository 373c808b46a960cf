//! The integration tests: one binary, because linking is what costs.

mod archive;
mod commands;
mod corpus;
mod damage;
mod failover;
mod fixture;
mod glob_order;
mod holes;
mod hostile;
mod house;
mod kill;
mod large;
mod mariadb;
mod mount;
mod mysql;
mod race;
mod random;
mod read_path;
mod refusals;
mod s3;
mod schedules;
mod second_opinion;
mod sweep;
mod synthetic;
mod tools;
mod whole_path;
