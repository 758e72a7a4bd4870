//! The role `vial-container`: one thread, from exec in the sandbox to exec of the agent as PID 1 of the container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use vial_sys::cgroup::Layout;
use vial_sys::namespace::{UnshareFlags, enter_network_at, unshare};
use vial_sys::process::{self, Fork};
use vial_sys::{During, SysError, mounts};

use super::root;
use super::spec::LaunchSpec;
use crate::report::{Report, Reporter};
use crate::root::cgroups;

/// The descriptor on which the agent says that it serves.
const READY: i32 = 3;

/// Runs the launcher, and in the child the rest.
pub(super) fn run() -> ExitCode {
    let Ok(mut reporter) = process::close_inherited(3).and_then(|()| Reporter::on_stdout()) else {
        return ExitCode::FAILURE;
    };
    let result = launch(&mut reporter);
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some((spec, layout))) => {
            let error = become_agent(&spec, &layout, &reporter);
            reporter.tell(&Report::Error(error.line()));
            ExitCode::FAILURE
        }
        Err(error) => {
            reporter.tell(&Report::Error(error.line()));
            ExitCode::FAILURE
        }
    }
}

/// `Some` in the child, once its gate is open.
fn launch(reporter: &mut Reporter) -> Result<Option<(LaunchSpec, Layout)>, SysError> {
    let operation = || "read the spec".to_owned();
    let mut stdin = std::io::stdin().lock();
    let mut line = String::new();
    stdin.read_line(&mut line).during(operation)?;
    let spec: LaunchSpec = serde_json::from_str(&line)
        .map_err(std::io::Error::from)
        .during(operation)?;
    let layout = Layout::detect()?;
    let group = LaunchSpec::group(&spec.name)?;
    // What a killed one of that name may have left.
    group.remove()?;
    group.create()?;
    group.limit(spec.limits)?;
    enter_network_at(&Path::new(vial_net::NETNS).join(&spec.node))?;
    let (gate, opener) = process::pipe()?;
    unshare(UnshareFlags::NEWPID)?;
    match process::fork()? {
        Fork::Parent(pid) => {
            drop(gate);
            reporter.tell(&Report::Pid(pid));
            // Until the first process knows whom to wait for.
            stdin
                .read_exact(&mut [0])
                .during(|| "wait for the first process".to_owned())?;
            File::from(opener)
                .write_all(b"1")
                .during(|| "open the gate".to_owned())?;
            Ok(None)
        }
        Fork::Child => {
            drop(opener);
            File::from(gate)
                .read_exact(&mut [0])
                .during(|| "wait at the gate".to_owned())?;
            group.join()?;
            Ok(Some((spec, layout)))
        }
    }
}

/// The child: PID 1 of the container. Returns only when something fails.
fn become_agent(spec: &LaunchSpec, layout: &Layout, reporter: &Reporter) -> SysError {
    match enter(spec, layout, reporter) {
        Ok(mut agent) => SysError {
            operation: format!("exec {}", root::AGENT),
            source: agent.exec(),
        },
        Err(error) => error,
    }
}

fn enter(spec: &LaunchSpec, layout: &Layout, reporter: &Reporter) -> Result<Command, SysError> {
    process::new_session()?;
    unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC | UnshareFlags::NEWCGROUP,
    )?;
    mounts::make_private()?;
    process::set_host_name(&spec.node)?;
    root::build(spec, layout)?;
    cgroups::leave_root(layout, "agent")?;
    {
        let null = File::options()
            .read(true)
            .open("/dev/null")
            .during(|| "open /dev/null".to_owned())?;
        process::place(&null, 0)?;
        // The same log once more, by its path in here: nothing of the sandbox's mounts stays open.
        let log = File::options()
            .append(true)
            .open(root::AGENT_LOG)
            .during(|| format!("open {}", root::AGENT_LOG))?;
        process::place(&log, 1)?;
        process::place(&log, 2)?;
    } // Closed here: their numbers may be the one that the agent's descriptor gets.
    process::close_on_exec(3)?;
    // The reporter itself is not inherited; it tells of a failed exec. The agent gets a copy.
    process::place(reporter, READY)?;
    Ok(agent(&spec.env))
}

fn agent(env: &BTreeMap<String, String>) -> Command {
    let mut agent = Command::new(root::AGENT);
    agent.arg0("vial-agent").env_clear().envs(env);
    agent.args([
        "--socket",
        root::AGENT_SOCKET,
        "--ready-fd",
        &READY.to_string(),
    ]);
    agent
}
