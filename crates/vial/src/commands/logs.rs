//! `vial logs NODE [COMPONENT]`.

use clap::Args;
use futures::StreamExt as _;
use futures::stream;
use vial_keeper::api::NodeStatus;
use vial_rpc::{LogsChunk, LogsRequest};

use crate::agent::{self, Container};
use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::near;
use crate::ui::{Style, Ui};

/// Show the logs of a node's components
///
/// Without a COMPONENT those of all of them, each line with its component. Pods' logs are shown by `kubectl logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial logs w-1 kubelet -f\n  vial logs cp-1 kube-apiserver --tail 50\n  vial logs -c dev w-1"
)]
pub(crate) struct LogsArgs {
    /// The node: cp-1, w-1, …
    #[arg(value_name = "NODE")]
    node: String,
    /// Only this component: kubelet, containerd, kube-apiserver, …
    #[arg(value_name = "COMPONENT")]
    component: Option<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Begin with so many last lines [default: all]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    tail: Option<u64>,
    #[command(flatten)]
    cluster: ClusterFlag,
}

pub(crate) async fn run(context: &Context, args: LogsArgs) -> Result {
    context.require_root("read a node's logs")?;
    let (cluster, node) = (&args.cluster.cluster, &args.node);
    let status = agent::node_status(context, cluster, node).await?;
    let found = status.nodes.iter().find(|found| found.name == *node);
    let containers = match (&args.component, found) {
        (Some(component), Some(found)) => {
            check_component(found, component)?;
            vec![Container::of_component(component)]
        }
        (None, Some(found)) if found.role == "control-plane" => {
            vec![Container::ControlPlane, Container::Node]
        }
        _ => vec![Container::Node],
    };

    let mut sources = Vec::new();
    for container in containers {
        let request = LogsRequest {
            component: args.component.clone().unwrap_or_default(),
            follow: args.follow,
            tail_lines: args.tail.unwrap_or(0),
        };
        let mut client = agent::connect(context, cluster, node, container).await?;
        let what = || format!("cannot read the logs of {node}");
        let stream = client
            .logs(request)
            .await
            .map_err(|status| agent::refused(what(), &status))?
            .into_inner();
        sources.push(stream);
    }
    let width = found
        .map(|node| {
            node.components
                .iter()
                .map(|c| c.name.len())
                .max()
                .unwrap_or(0)
        })
        .unwrap_or(0);
    let mut chunks = if args.follow {
        stream::select_all(sources).boxed()
    } else {
        // One after the other: whole logs are read better than mixed ones.
        stream::iter(sources).flatten().boxed()
    };
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            // Ctrl-C is how one stops following.
            () = interrupt::signal() => return Ok(Exit(Code::Interrupted as u8)),
        };
        match chunk {
            Some(Ok(chunk)) if args.component.is_some() => context.ui.data(&chunk.data)?,
            Some(Ok(chunk)) => context.ui.data(prefixed(&chunk, width, &context.ui))?,
            Some(Err(status)) => {
                return Err(agent::refused(format!("the logs of {node} ended"), &status));
            }
            None => return Ok(Exit::OK),
        }
    }
}

fn check_component(node: &NodeStatus, component: &str) -> Result<()> {
    let names: Vec<&str> = node
        .components
        .iter()
        .map(|component| component.name.as_str())
        .collect();
    // Of a node that does not answer no components are known; its agent is asked then.
    if names.is_empty() || names.contains(&component) {
        return Ok(());
    }
    Err(Error::new(
        Code::NotFound,
        format!("node `{}` has no component `{component}`", node.name),
    )
    .hint(near::hint("component", component, names.iter().copied())))
}

/// Each line with its component before it. Bytes that are no text stay as they are.
fn prefixed(chunk: &LogsChunk, width: usize, ui: &Ui) -> Vec<u8> {
    let head = Style::Accent.paint(&format!("{:width$}", chunk.component), ui.color_out());
    let mut out = Vec::with_capacity(chunk.data.len() * 2);
    for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b" | ");
        out.extend_from_slice(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status::tests::cluster;
    use crate::ui::ColorChoice;

    #[test]
    fn every_line_has_its_component() {
        let chunk = LogsChunk {
            component: "etcd".into(),
            data: b"one\ntwo \xff\n".to_vec(),
        };
        let text = prefixed(&chunk, 6, &Ui::new(false, ColorChoice::Never));
        assert_eq!(text, b"etcd   | one\netcd   | two \xff\n");
    }

    #[test]
    fn an_unknown_component_has_a_near_name() {
        let node = &cluster().nodes[1];
        check_component(node, "kubelet").unwrap();
        let error = check_component(node, "kubelt").unwrap_err();
        assert_eq!(
            (error.exit_code(), error.hints()),
            (3, ["did you mean kubelet?".to_owned()].as_slice())
        );
    }
}
