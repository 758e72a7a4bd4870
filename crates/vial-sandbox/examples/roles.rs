//! The multi-role binary in small, for this crate's tests: first process, launcher, and a stand-in for the agent.
//!
//! The stand-in says that it is ready, then takes connections on its socket; each sends a shell script, closes its side
//! and gets the output.
#![expect(clippy::unwrap_used, reason = "a stand-in for tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let role = std::env::args().next().unwrap_or_default();
    match role.rsplit('/').next() {
        Some("vial-init") => vial_node::init::main(),
        Some("vial-container") => vial_node::container::launcher_main(),
        Some("vial-agent") => agent(),
        _ => ExitCode::FAILURE,
    }
}

fn agent() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, _, socket, _, ready] = arguments.as_slice() else {
        return ExitCode::FAILURE;
    };
    if std::env::var_os("FAIL").is_some() {
        std::io::stderr().write_all(b"told to fail\n").unwrap();
        return ExitCode::from(3);
    }
    let listener = UnixListener::bind(socket).unwrap();
    std::fs::File::options()
        .write(true)
        .open(format!("/proc/self/fd/{ready}"))
        .unwrap()
        .write_all(b"1")
        .unwrap();
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        let mut script = String::new();
        connection.read_to_string(&mut script).unwrap();
        if let Some(code) = script.strip_prefix("end ") {
            return ExitCode::from(code.parse::<u8>().unwrap());
        }
        let run = Command::new("/bin/sh")
            .args(["-c", &format!("exec 2>&1; {script}")])
            .stdin(Stdio::null())
            .output();
        let output = run.map_or_else(
            |error| error.to_string().into_bytes(),
            |output| output.stdout,
        );
        connection.write_all(&output).unwrap();
    }
    ExitCode::SUCCESS
}
