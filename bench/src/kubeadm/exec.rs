//! One command on a node, through its agent.

use vial_rpc::Channel;

use crate::Result;

/// Where a node's programs are, kubeadm's among them.
pub(super) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin:/opt/kubeadm";

/// Runs it to its end; gives its standard output.
pub(super) async fn run(agent: Channel, argv: &[&str]) -> Result<String> {
    let path = format!("PATH={PATH}");
    let found = ["env", &path].into_iter().chain(argv.iter().copied());
    let output = vial_rpc::exec_collect(agent, found, b"").await?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    match output.code {
        0 => Ok(out.into_owned()),
        code => Err(format!("{} ended with {code}\n{out}{err}", argv.join(" ")).into()),
    }
}
