//! From exec to the served sandbox; see the lifecycle in [`super`].

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use vial_sys::cgroup::Layout;
use vial_sys::identity::Identity;
use vial_sys::namespace::{UnshareFlags, unshare};
use vial_sys::process::{self, Fork};
use vial_sys::{During, SysError, mounts};

use super::{InitSpec, root, serve};
use crate::report::{Report, Reporter};

/// Runs stage 1, and in the child the rest.
pub(super) fn run() -> ExitCode {
    let mut reporter = match process::close_inherited(3).and_then(|()| Reporter::on_stdout()) {
        Ok(reporter) => reporter,
        Err(_) => return ExitCode::FAILURE,
    };
    match stage_1(&mut reporter) {
        Ok(Some(spec)) => sandbox(&spec, reporter),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.tell(&Report::Error(error.line()));
            ExitCode::FAILURE
        }
    }
}

/// `Some` in the child, once the gate is open.
fn stage_1(reporter: &mut Reporter) -> Result<Option<InitSpec>, SysError> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .during(|| "read the spec".to_owned())?;
    let spec: InitSpec = serde_json::from_str(&text)
        .map_err(std::io::Error::from)
        .during(|| "read the spec".to_owned())?;
    let group = InitSpec::group(&spec.name)?;
    group.create()?;
    let (gate, opener) = process::pipe()?;
    unshare(UnshareFlags::NEWPID)?;
    match process::fork()? {
        Fork::Parent(pid) => {
            drop(gate);
            write_identity(&spec, pid)?;
            File::from(opener)
                .write_all(b"1")
                .during(|| "open the gate".to_owned())?;
            reporter.tell(&Report::Pid(pid));
            Ok(None)
        }
        Fork::Child => {
            drop(opener);
            File::from(gate)
                .read_exact(&mut [0])
                .during(|| "wait at the gate".to_owned())?;
            group.join()?;
            Ok(Some(spec))
        }
    }
}

fn write_identity(spec: &InitSpec, pid: i32) -> Result<(), SysError> {
    let path = spec.pid_file();
    let operation = || format!("write {}", path.display());
    let text = serde_json::to_string(&Identity::of(pid.unsigned_abs())?)
        .map_err(std::io::Error::from)
        .during(operation)?;
    let aside = path.with_extension("pid.new");
    std::fs::write(&aside, text).during(operation)?;
    std::fs::rename(&aside, &path).during(operation)
}

/// The child: PID 1 of the sandbox. Returns only when something fails.
fn sandbox(spec: &InitSpec, mut reporter: Reporter) -> ExitCode {
    // Held to the end: the program must keep its name while containers are to be made of it.
    let served = enter(spec)
        .and_then(|()| hold_program())
        .and_then(|_program| {
            let ready = || reporter.tell(&Report::Ready);
            serve::run(ready, std::future::ready(()))
        });
    let error = match served {
        Ok(()) => "stopped serving".to_owned(),
        Err(error) => error.line(),
    };
    reporter.tell(&Report::Error(error));
    ExitCode::FAILURE
}

/// Locks the bound program, which tells other builds of vial that it is in use: the lock ends with this process.
fn hold_program() -> Result<File, SysError> {
    let operation = || format!("lock {}", root::PROGRAM);
    let program = File::open(root::PROGRAM).during(operation)?;
    program.lock_shared().during(operation)?;
    Ok(program)
}

fn enter(spec: &InitSpec) -> Result<(), SysError> {
    process::new_session()?;
    let null = File::open("/dev/null").during(|| "open /dev/null".to_owned())?;
    process::place(&null, 0)?;
    // The log of the sandbox, which the maker opened.
    process::place(std::io::stderr(), 1)?;
    let layout = Layout::detect()?;
    unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWCGROUP,
    )?;
    mounts::make_private()?;
    root::build(spec, &layout)?;
    process::set_host_name(&spec.name)?;
    std::env::set_current_dir(Path::new("/")).during(|| "change to /".to_owned())
}
