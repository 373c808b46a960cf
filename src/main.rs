//! The binlogfs command.

use std::process::ExitCode;

fn main() -> ExitCode {
    binlogfs::cli::main()
}
