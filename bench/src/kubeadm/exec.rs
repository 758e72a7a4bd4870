//! One command on a node, through its agent.

use futures::StreamExt as _;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::exec_input::Input;
use vial_rpc::exec_output::Output;
use vial_rpc::{Channel, ExecInput, ExecStart};

use crate::Result;

/// Where a node's programs are.
pub(super) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin:/opt/kubeadm";

/// Runs it to its end; gives its standard output.
pub(super) async fn run(agent: &mut AgentClient<Channel>, argv: &[&str]) -> Result<String> {
    let start = ExecStart {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: [
            ("PATH".into(), PATH.into()),
            ("HOME".into(), "/root".into()),
        ]
        .into(),
        ..ExecStart::default()
    };
    let inputs =
        [Input::Start(start), Input::StdinEof(true)].map(|input| ExecInput { input: Some(input) });
    let mut outputs = agent.exec(tokio_stream::iter(inputs)).await?.into_inner();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(message) = outputs.next().await {
        match message?.output {
            Some(Output::Stdout(bytes)) => out.extend(bytes),
            Some(Output::Stderr(bytes)) => err.extend(bytes),
            Some(Output::Exit(0)) => return Ok(String::from_utf8_lossy(&out).into_owned()),
            Some(Output::Exit(code)) => {
                let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
                return Err(format!("{} ended with {code}\n{out}{err}", argv.join(" ")).into());
            }
            None => {}
        }
    }
    Err(format!("{} was cut off", argv.join(" ")).into())
}
