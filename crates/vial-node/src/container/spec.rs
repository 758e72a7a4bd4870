//! What the first process tells the launcher; paths as seen in the sandbox unless said otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tonic::Status;
use vial_rpc::{ContainerSpec, mount};
use vial_sys::SysError;
use vial_sys::cgroup::{Group, Layout, Limits};

use crate::network::check_name;

/// A container, understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LaunchSpec {
    pub(super) name: String,
    pub(super) node: String,
    /// Topmost first.
    pub(super) lower: Vec<PathBuf>,
    pub(super) upper: PathBuf,
    pub(super) mounts: Vec<LaunchMount>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) agent_socket: PathBuf,
    pub(super) limits: Limits,
}

/// One mount of the spec, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LaunchMount {
    /// `None`: a tmpfs.
    pub(super) source: Option<PathBuf>,
    /// In the container.
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

impl LaunchSpec {
    /// Understands the protocol's spec.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, naming what is wrong.
    pub(super) fn of(spec: &ContainerSpec) -> Result<Self, Status> {
        check_name(&spec.name)?;
        check_name(&spec.node)?;
        if spec.lower.is_empty() {
            return Err(Status::invalid_argument(
                "a container needs at least one layer",
            ));
        }
        let limits = spec.limits.unwrap_or_default();
        Ok(Self {
            name: spec.name.clone(),
            node: spec.node.clone(),
            lower: spec
                .lower
                .iter()
                .map(|path| absolute(path))
                .collect::<Result<_, _>>()?,
            upper: absolute(&spec.upper)?,
            mounts: spec
                .mounts
                .iter()
                .map(LaunchMount::of)
                .collect::<Result<_, _>>()?,
            env: spec
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            agent_socket: absolute(&spec.agent_socket)?,
            limits: Limits {
                memory_bytes: limits.memory_bytes,
                cpu_millis: limits.cpu_millis,
                pids: limits.pids,
                cpu_weight: limits.cpu_weight,
            },
        })
    }

    /// The directory that is /run/vial inside.
    pub(super) fn run_dir(&self) -> &Path {
        self.agent_socket.parent().unwrap_or(Path::new("/"))
    }

    /// Where the agent's own output goes.
    pub(super) fn log(&self) -> PathBuf {
        self.run_dir().join("agent.log")
    }

    /// Its cgroup, as seen in the sandbox.
    pub(super) fn group(name: &str) -> Result<Group, SysError> {
        Ok(Group::new(Layout::detect()?, name))
    }
}

impl LaunchMount {
    fn of(mount: &vial_rpc::Mount) -> Result<Self, Status> {
        let source = match mount.kind() {
            mount::Kind::Bind => Some(absolute(&mount.source)?),
            mount::Kind::Tmpfs => None,
        };
        Ok(Self {
            source,
            target: absolute(&mount.target)?,
            read_only: mount.read_only,
        })
    }
}

fn absolute(path: &str) -> Result<PathBuf, Status> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Status::invalid_argument(format!(
            "{path:?} is no absolute path"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ContainerSpec {
        ContainerSpec {
            name: "w-1.node".into(),
            node: "w-1".into(),
            lower: vec!["/vial/images/base".into()],
            upper: "/vial/cluster/nodes/w-1".into(),
            agent_socket: "/vial/run/agents/w-1.node/agent.sock".into(),
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn is_understood() {
        let spec = LaunchSpec::of(&sample()).unwrap();
        assert_eq!(spec.log(), Path::new("/vial/run/agents/w-1.node/agent.log"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for broken in [
            ContainerSpec {
                name: "../x".into(),
                ..sample()
            },
            ContainerSpec {
                node: String::new(),
                ..sample()
            },
            ContainerSpec {
                lower: vec![],
                ..sample()
            },
            ContainerSpec {
                upper: "relative".into(),
                ..sample()
            },
        ] {
            assert_eq!(
                LaunchSpec::of(&broken).unwrap_err().code(),
                tonic::Code::InvalidArgument
            );
        }
    }
}
