//! The fixture: one agent in a directory of its own.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio_stream::StreamExt as _;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::component_status::State;
use vial_rpc::exec::Output;
use vial_rpc::{
    Channel, ComponentRef, ComponentSpec, ComponentStatus, ListComponentsRequest, Status,
    WaitReadyRequest, WatchComponentsRequest,
};

/// Longer than anything takes on a busy machine; only a failing test ever waits that long.
const PATIENCE_MS: u64 = 60_000;

pub(crate) struct Lab {
    directory: tempfile::TempDir,
    process: Child,
    /// The process is not the agent itself but one that takes the agent with it when it is killed.
    launched: bool,
    pub(crate) channel: Channel,
}

impl Lab {
    /// Starts an agent and returns when it serves.
    pub(crate) async fn new() -> Self {
        Self::with_launcher(&[]).await
    }

    /// Starts an agent by way of `launcher`, a command that executes its arguments.
    pub(crate) async fn with_launcher(launcher: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let process = start(launcher, &socket);
        let channel = vial_rpc::connect(&socket).await.unwrap();
        Self {
            directory,
            process,
            launched: !launcher.is_empty(),
            channel,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    pub(crate) fn client(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    /// A component that runs a shell script, with the lab's directory as `$LAB` and its log in `NAME.log`.
    pub(crate) fn sh(&self, name: &str, script: &str) -> ComponentSpec {
        ComponentSpec {
            name: name.into(),
            argv: vec!["sh".into(), "-c".into(), script.into()],
            env: [(
                "LAB".to_string(),
                self.directory.path().to_str().unwrap().to_string(),
            )]
            .into(),
            log_file: self.path(&format!("{name}.log")).to_str().unwrap().into(),
            ..Default::default()
        }
    }

    pub(crate) async fn apply(&self, spec: ComponentSpec) -> ComponentStatus {
        self.client()
            .apply_component(spec)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn remove(&self, name: &str) {
        self.client()
            .remove_component(ComponentRef { name: name.into() })
            .await
            .unwrap();
    }

    pub(crate) async fn wait_ready(&self, name: &str) -> ComponentStatus {
        self.try_wait_ready(name, PATIENCE_MS).await.unwrap()
    }

    pub(crate) async fn try_wait_ready(
        &self,
        name: &str,
        timeout_ms: u64,
    ) -> Result<ComponentStatus, Status> {
        let request = WaitReadyRequest {
            name: name.into(),
            timeout_ms,
        };
        self.client()
            .wait_ready(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Every state of `name` from now on, until `last` says that it has seen enough.
    pub(crate) async fn until(
        &self,
        name: &str,
        mut last: impl FnMut(&ComponentStatus) -> bool,
    ) -> ComponentStatus {
        let mut changes = self
            .client()
            .watch_components(WatchComponentsRequest {})
            .await
            .unwrap()
            .into_inner();
        let watch = async {
            while let Some(status) = changes.next().await {
                let status = status.unwrap();
                if status.name == name && last(&status) {
                    return status;
                }
            }
            panic!("the agent told no more of {name}");
        };
        tokio::time::timeout(std::time::Duration::from_millis(PATIENCE_MS), watch)
            .await
            .expect("it never came")
    }

    pub(crate) async fn until_state(&self, name: &str, state: State) -> ComponentStatus {
        self.until(name, |status| status.state() == state).await
    }

    pub(crate) async fn list(&self) -> Vec<ComponentStatus> {
        self.client()
            .list_components(ListComponentsRequest {})
            .await
            .unwrap()
            .into_inner()
            .components
    }

    /// Runs a shell script in the node.
    pub(crate) async fn run(&self, script: &str) -> Output {
        vial_rpc::exec_collect(self.channel.clone(), ["sh", "-c", script], b"")
            .await
            .unwrap()
    }

    /// Asks the agent to end, and returns its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        terminate(&self.process);
        self.wait()
    }

    /// The exit code of the agent, or of its launcher, that was asked to end.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            if self.launched {
                let _ = self.process.kill();
            } else {
                terminate(&self.process);
            }
            self.wait();
        }
    }
}

/// Starts an agent; returns when it has said by its ready descriptor that it serves.
pub(crate) fn start(launcher: &[&str], socket: &Path) -> Child {
    let script = r#"exec "$@" --ready-fd 3 3>&1 >&2"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .args(launcher)
        .arg(env!("CARGO_BIN_EXE_vial-agent"))
        .arg("--socket")
        .arg(socket);
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = process.stdout.take().unwrap();
    let mut said = [0];
    ready.read_exact(&mut said).unwrap();
    // A launcher that stays keeps its own copy of the descriptor open.
    if launcher.is_empty() {
        let more = ready.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(more, 0, "one byte, then the descriptor is closed");
    }
    process
}

pub(crate) fn terminate(process: &Child) {
    let pid = rustix::process::Pid::from_raw(process.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}
