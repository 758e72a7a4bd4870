//! Forwarded ports: each port of the host once, nodes that are there.

use super::{FieldPath, Problems};
use crate::NodeConfig;
use crate::names::did_you_mean;
use crate::port::PortForward;
use crate::target::Target;

/// The file's ports, and those of the command line over them: a flag takes the place of what wants the same port.
pub(super) fn resolve(
    entries: &[String],
    flags: &[PortForward],
    nodes: &[NodeConfig],
    problems: &mut Problems,
) -> Vec<PortForward> {
    let path = FieldPath::root().key("ports");
    let mut found: Vec<PortForward> = Vec::new();
    for (number, text) in entries.iter().enumerate() {
        let place = path.index(number);
        match text.parse() {
            Ok(forward) => add(&mut found, forward, nodes, &place, problems),
            Err(error) => problems.add(&place, error.to_string()),
        }
    }
    found.retain(|one| !flags.iter().any(|flag| flag.collides(one) || flag == one));
    let place = FieldPath::argument("--port");
    for flag in flags {
        add(&mut found, flag.clone(), nodes, &place, problems);
    }
    found
}

fn add(
    found: &mut Vec<PortForward>,
    forward: PortForward,
    nodes: &[NodeConfig],
    place: &FieldPath,
    problems: &mut Problems,
) {
    if let Some(other) = found
        .iter()
        .find(|one| one.collides(&forward) || **one == forward)
    {
        problems.add(place, format!("{forward} and {other} want the same port"));
        return;
    }
    if let Target::Node(name) = &forward.target
        && !nodes.iter().any(|node| node.name == *name)
    {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let hint = did_you_mean(name, &names);
        problems.add_hint(place, format!("{forward}: there is no node {name:?}"), hint);
        return;
    }
    found.push(forward);
}
