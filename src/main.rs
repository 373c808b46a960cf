//! The binlogfs command.

fn main() {}
