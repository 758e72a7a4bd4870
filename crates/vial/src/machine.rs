//! Where the sockets of a node's virtual machine are, or why there are none.

use std::path::PathBuf;

use vial_engine::record::Record;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::node_name::NodeName;

/// The run directory of a node's machine.
///
/// # Errors
/// When the node does not run, or is a container.
pub(crate) fn directory(context: &Context, name: &NodeName) -> Result<PathBuf> {
    let agents = context.paths.run_dir(&name.cluster).join("agents");
    let machine = agents.join(format!("{}.machine", name.node));
    if machine.exists() {
        return Ok(machine);
    }
    let node = &name.node;
    if agents.join(format!("{node}.node")).exists() {
        let what = format!("`{node}` is a container, which has no console");
        return Err(Error::new(Code::BadInput, what).hint(format!(
            "`vial logs --node {node}` shows what its components say, `vial ssh {node}` logs in"
        )));
    }
    let what = format!("`{node}` does not run");
    Err(Error::new(Code::Failed, what).hint(format!("vial up {}", name.cluster)))
}

/// The same of one that has a display.
///
/// # Errors
/// When there is no such node, it does not run, or it has none.
pub(crate) fn with_display(context: &Context, name: &NodeName) -> Result<PathBuf> {
    has_display(&name.find(context)?, name)?;
    directory(context, name)
}

fn has_display(record: &Record, name: &NodeName) -> Result<()> {
    let node = &name.node;
    let machine = record
        .spec
        .node(node)
        .and_then(|node| node.machine.as_ref());
    let (what, hint) = match machine {
        Some(machine) if machine.display => return Ok(()),
        Some(_) => (
            format!("the machine of `{node}` has no display"),
            format!("without one: `vial console {node}`"),
        ),
        None => (
            format!("`{node}` is a container, which has no display"),
            format!("without one: `vial ssh {node}`"),
        ),
    };
    Err(Error::new(Code::BadInput, what)
        .hint("machines get one when they are made: `vial up --vm-workers 1 --display`, or `vm: {display: true}` of a node in vial.yaml")
        .hint(hint))
}

/// Its machine does not listen where it should.
pub(crate) fn does_not_answer(
    name: &NodeName,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let node = &name.node;
    Error::caused(format!("the machine of {node} does not answer"), cause)
        .with_code(Code::Failed)
        .hint(format!(
            "`vial status {}` tells whether it runs",
            name.cluster
        ))
        .hint(format!("what it said last: `vial console {node}`"))
}
