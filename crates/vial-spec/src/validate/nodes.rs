//! The nodes: which there are, and what of the group and of the single node applies.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::components::{self, Scope};
use super::{FieldPath, Problems, ReadFile, devices, machine, syntax};
use crate::file::{FileEntry, MachineEntry, MountEntry, NodeEntry, TaintEntry};
use crate::names;
use crate::{
    CONTROL_PLANE_LABEL, ComponentConfig, Driver, HostMount, MAX_WORKERS, NodeConfig, OverlayFile,
    Role, Taint,
};

/// Labels that a kubelet reports of its own machine and puts right again (pkg/kubelet/kubelet_node_status.go).
const KUBELET_LABELS: [&str; 3] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
];

/// What the file says of nodes.
pub(super) struct Groups {
    pub(super) control_plane: NodeEntry,
    pub(super) workers: NodeEntry,
    pub(super) single: BTreeMap<String, NodeEntry>,
}

/// What one place of the file says of nodes, checked.
#[derive(Debug, Clone, Default)]
struct Layer {
    labels: BTreeMap<String, String>,
    taints: Option<Vec<Taint>>,
    driver: Option<Driver>,
    vm: Option<MachineEntry>,
    mounts: Vec<HostMount>,
    files: Vec<OverlayFile>,
    components: BTreeMap<String, ComponentConfig>,
}

/// How many workers there are, and who is a virtual machine whatever else is said; these come after the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workers {
    /// As their group says.
    pub(super) group: u32,
    /// Virtual machines, whatever their group says.
    pub(super) machines: u32,
    /// Every node is a virtual machine, the control plane too.
    pub(super) all_machines: bool,
}

pub(super) fn resolve(
    groups: Groups,
    workers: Workers,
    machines: &MachineEntry,
    read: ReadFile<'_>,
    problems: &mut Problems,
) -> Vec<NodeConfig> {
    let root = FieldPath::root();
    let mut identities = vec![(Role::ControlPlane, 1)];
    let count = workers.group + workers.machines;
    identities.extend((1..=count).map(|ordinal| (Role::Worker, ordinal)));
    let known: Vec<String> = identities
        .iter()
        .map(|(role, ordinal)| name(*role, *ordinal))
        .collect();

    let control_plane = layer(
        &root.key("controlPlane"),
        groups.control_plane,
        Role::ControlPlane,
        read,
        problems,
    );
    let worker = layer(
        &root.key("workers"),
        groups.workers,
        Role::Worker,
        read,
        problems,
    );
    let mut single: BTreeMap<String, Layer> = BTreeMap::new();
    for (name, entry) in groups.single {
        let path = root.key("nodes").key(&name);
        if !known.contains(&name) {
            unknown(&path, &name, &known, problems);
        }
        let role = if name.starts_with("cp-") {
            Role::ControlPlane
        } else {
            Role::Worker
        };
        single.insert(name, layer(&path, entry, role, read, problems));
    }

    // Whose virtual machine is described, and where.
    let mut described: Vec<(FieldPath, Vec<String>)> = Vec::new();
    let of_role = |prefix: &str| -> Vec<String> {
        let names = known.iter().filter(|name| name.starts_with(prefix));
        names.cloned().collect()
    };
    for (key, group, prefix) in [
        ("controlPlane", &control_plane, "cp-"),
        ("workers", &worker, "w-"),
    ] {
        if group.vm.is_some() {
            described.push((root.key(key), of_role(prefix)));
        }
    }
    for (name, layer) in &single {
        if layer.vm.is_some() {
            described.push((root.key("nodes").key(name), vec![name.clone()]));
        }
    }

    let node = |(role, ordinal)| {
        let name = name(role, ordinal);
        let mut layer = match role {
            Role::ControlPlane => control_plane.clone(),
            Role::Worker => worker.clone(),
        };
        if role == Role::Worker && ordinal > workers.group {
            layer.driver = Some(Driver::Vm);
        }
        let above = single.remove(&name);
        let own_mounts = above.as_ref().is_some_and(|above| !above.mounts.is_empty());
        if let Some(above) = above {
            layer.overlay(above);
        }
        if workers.all_machines {
            layer.driver = Some(Driver::Vm);
        }
        let driver = layer.driver.unwrap_or_default();
        if driver == Driver::Vm {
            machine::overlay(layer.vm.get_or_insert_default(), machines.clone());
        }
        let mut place = root.key("nodes").key(&name).key("vm");
        if let Some((path, _)) = described
            .iter()
            .rev()
            .find(|(_, names)| names.contains(&name))
        {
            place = path.key("vm");
        }
        let machine = machine::resolve(&place, driver, layer.vm, (role, ordinal), problems);
        if machine.is_some() {
            // Those of the group are for its containers.
            layer.mounts.clear();
            if own_mounts {
                let path = root.key("nodes").key(&name).key("mounts");
                let message = format!(
                    "{name} is a virtual machine: nothing of the host can be bound into it"
                );
                let hint = "`files`, or `vial cp` later, bring files into any node".to_owned();
                problems.add_hint(&path, message, Some(hint));
            }
        }
        let mut labels = layer.labels;
        if role == Role::ControlPlane {
            labels.entry(CONTROL_PLANE_LABEL.to_owned()).or_default();
        }
        let usual = || {
            if role == Role::ControlPlane && count > 0 {
                vec![control_plane_taint()]
            } else {
                vec![]
            }
        };
        NodeConfig {
            name,
            role,
            ordinal,
            labels,
            taints: layer.taints.unwrap_or_else(usual),
            machine,
            mounts: layer.mounts,
            files: layer.files,
            components: layer.components,
        }
    };
    let nodes: Vec<NodeConfig> = identities.into_iter().map(node).collect();
    devices::check_together(&nodes, problems);
    let flag = |key: &str| FieldPath::argument(machine::flag(key));
    machine::check(&flag, machines, problems);
    if *machines != MachineEntry::default() && nodes.iter().all(|node| node.machine.is_none()) {
        let message = "there is no virtual machine that this flag could be for";
        let hint = "--vm-workers N makes some".to_owned();
        let place = FieldPath::argument(machine::first_flag(machines));
        problems.add_hint(&place, message, Some(hint));
    }
    for (path, names) in described {
        let is_machine = |node: &NodeConfig| node.machine.is_some() && names.contains(&node.name);
        if !nodes.iter().any(is_machine) {
            let message = "there is no virtual machine that this could describe";
            let hint = "`driver: vm` beside it makes one".to_owned();
            problems.add_hint(&path.key("vm"), message, Some(hint));
        }
    }
    nodes
}

fn name(role: Role, ordinal: u32) -> String {
    match role {
        Role::ControlPlane => format!("cp-{ordinal}"),
        Role::Worker => format!("w-{ordinal}"),
    }
}

fn control_plane_taint() -> Taint {
    Taint {
        key: CONTROL_PLANE_LABEL.to_owned(),
        value: String::new(),
        effect: "NoSchedule".to_owned(),
    }
}

fn unknown(path: &FieldPath, name: &str, known: &[String], problems: &mut Problems) {
    let ordinal = name
        .strip_prefix("w-")
        .and_then(|text| text.parse::<u32>().ok());
    let message = format!("there is no node {name:?}");
    let hint = match ordinal {
        Some(ordinal) if (1..=MAX_WORKERS).contains(&ordinal) => {
            format!(
                "the cluster has {}; workers: {ordinal} would make it",
                list(known)
            )
        }
        Some(ordinal) if ordinal > MAX_WORKERS => {
            format!(
                "the cluster has {}; at most {MAX_WORKERS} workers are possible",
                list(known)
            )
        }
        _ => {
            let list = format!("the cluster has {}", list(known));
            names::did_you_mean(name, known)
                .map_or_else(|| list.clone(), |meant| format!("{meant} ({list})"))
        }
    };
    problems.add_hint(path, message, Some(hint));
}

/// `cp-1 and w-1 to w-20`
fn list(known: &[String]) -> String {
    match known {
        [first, worker] => format!("{first} and {worker}"),
        [first, worker, .., last] => format!("{first} and {worker} to {last}"),
        _ => known.join(", "),
    }
}

/// Checks what is written at one place.
fn layer(
    path: &FieldPath,
    entry: NodeEntry,
    role: Role,
    read: ReadFile<'_>,
    problems: &mut Problems,
) -> Layer {
    let scope = match role {
        Role::ControlPlane => Scope::ControlPlane,
        Role::Worker => Scope::Worker,
    };
    if let Some(vm) = &entry.vm {
        let path = path.key("vm");
        machine::check(&|key| path.key(key), vm, problems);
    }
    let mut labels = BTreeMap::new();
    for (key, value) in entry.labels {
        let path = path.key("labels").key(&key);
        syntax::qualified_name(&path, &key, problems);
        syntax::label_value(&path, &value.0, problems);
        if KUBELET_LABELS.contains(&key.as_str()) {
            let message =
                format!("{key} is what the kubelet says of its node, it cannot be chosen");
            problems.add(&path, message);
        }
        labels.insert(key, value.0);
    }
    Layer {
        labels,
        taints: entry
            .taints
            .map(|entries| taints(&path.key("taints"), &entries, problems)),
        driver: entry.driver,
        vm: entry.vm,
        mounts: mounts(&path.key("mounts"), entry.mounts, problems),
        files: files(&path.key("files"), entry.files, read, problems),
        components: components::resolve(&path.key("components"), entry.components, scope, problems),
    }
}

fn taints(path: &FieldPath, entries: &[TaintEntry], problems: &mut Problems) -> Vec<Taint> {
    let mut found: Vec<Taint> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let place = path.index(number);
        let taint = syntax::taint(&place, entry, problems);
        if found
            .iter()
            .any(|other| (&other.key, &other.effect) == (&taint.key, &taint.effect))
        {
            problems.add(
                &place,
                format!("the taint {}:{} is there twice", taint.key, taint.effect),
            );
        }
        found.push(taint);
    }
    found
}

fn mounts(path: &FieldPath, entries: Vec<MountEntry>, problems: &mut Problems) -> Vec<HostMount> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (number, entry) in entries.into_iter().enumerate() {
        let place = path.index(number);
        syntax::absolute(
            &place.key("hostPath"),
            &entry.host_path,
            "of the host",
            problems,
        );
        syntax::node_path(&place.key("nodePath"), &entry.node_path, problems);
        let MountEntry {
            host_path,
            node_path,
            read_only,
        } = entry;
        let node_path = canonical(&node_path);
        if !seen.insert(node_path.clone()) {
            problems.add(
                &place.key("nodePath"),
                format!("something is mounted at {node_path:?} already"),
            );
        }
        found.push(HostMount {
            host_path,
            node_path,
            read_only,
        });
    }
    found
}

fn files(
    path: &FieldPath,
    entries: Vec<FileEntry>,
    read: ReadFile<'_>,
    problems: &mut Problems,
) -> Vec<OverlayFile> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (number, entry) in entries.into_iter().enumerate() {
        let place = path.index(number);
        syntax::node_path(&place.key("path"), &entry.path, problems);
        if entry.path.len() > 1 && entry.path.ends_with('/') {
            problems.add(
                &place.key("path"),
                format!("{:?} is a directory, a file is needed", entry.path),
            );
        }
        let node_path = canonical(&entry.path);
        if !seen.insert(node_path.clone()) {
            problems.add(
                &place.key("path"),
                format!("the file {node_path:?} is there already"),
            );
        }
        let content = match (entry.content, entry.source) {
            (Some(content), None) => content,
            (None, Some(source)) => read(Path::new(&source)).unwrap_or_else(|error| {
                problems.add(
                    &place.key("source"),
                    format!("cannot read {source:?}: {error}"),
                );
                String::new()
            }),
            (Some(_), Some(_)) => {
                problems.add(
                    &place,
                    "it has a content and a source, one of them is possible",
                );
                String::new()
            }
            (None, None) => {
                problems.add(&place, "what is in the file? write content: or source:");
                String::new()
            }
        };
        let mode = entry.mode.as_deref().unwrap_or("0644");
        let mode = syntax::mode(&place.key("mode"), mode, problems);
        found.push(OverlayFile {
            path: node_path,
            content,
            mode,
        });
    }
    found
}

/// One slash between the parts, none at the end, so that the same place is the same text.
fn canonical(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

impl Layer {
    /// Lays what is said of a single node over what is said of its group: labels, components by name, mounts and files
    /// by their place in the node; taints as a whole.
    fn overlay(&mut self, above: Layer) {
        self.labels.extend(above.labels);
        if above.taints.is_some() {
            self.taints = above.taints;
        }
        self.driver = above.driver.or(self.driver);
        match (&mut self.vm, above.vm) {
            (Some(below), Some(above)) => machine::overlay(below, above),
            (below, Some(above)) => *below = Some(above),
            (_, None) => {}
        }
        self.mounts.retain(|mount| {
            above
                .mounts
                .iter()
                .all(|other| other.node_path != mount.node_path)
        });
        self.mounts.extend(above.mounts);
        self.files
            .retain(|file| above.files.iter().all(|other| other.path != file.path));
        self.files.extend(above.files);
        components::overlay(&mut self.components, above.components);
    }
}
