//! The store on Google Cloud Storage against an emulator and against a model of its API in which replies get lost.

pub mod emulator;
mod model;

mod conformance;
mod faults;
mod locks;
mod messages;
