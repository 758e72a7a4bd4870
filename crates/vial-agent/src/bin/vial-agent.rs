//! The agent alone, as its tests and people who debug it run it; nodes run it by the name `vial-agent` of the vial binary.
use std::process::ExitCode;

fn main() -> ExitCode {
    vial_agent::main()
}
