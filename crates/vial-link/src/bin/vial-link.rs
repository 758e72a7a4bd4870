//! The role alone, as its tests and people who debug it run it; machines run it by the name `vial-link` of the vial binary.
use std::process::ExitCode;

fn main() -> ExitCode {
    vial_link::main()
}
