//! What `vial up` shall make: the file, the flags and what is there already, as one validated specification.
//!
//! | file | flags | cluster exists | wanted |
//! |---|---|---|---|
//! | given | any | any | the file, flags over it |
//! | – | none | yes | what it is: start it again, or wait for an `up` that is at work |
//! | – | some | yes | what its flags made, these flags over them; a cluster made from a file needs the file |
//! | – | any | no | the defaults, flags over them |
//!
//! `vial.yaml` in the working directory is *not* read unless it is named: what a command does must not depend on where
//! it is typed.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use vial_spec::file::MachineEntry;
use vial_spec::port::PortForward;
use vial_spec::validate::Problem;
use vial_spec::{
    ClusterSpec, Driver, File, Machine, Maker, Overrides, ParseError, Role, SandboxOverrides,
    ValidationErrors,
};

use crate::context::DEFAULT_CLUSTER;
use crate::error::{Code, Error, Result};

/// Standard input, as `-f -` names it.
pub(crate) const STDIN: &str = "-";

/// Reads and checks a file, flags over it. `fallback` is its name when neither says one.
pub(crate) fn from_file(
    path: &Path,
    mut overrides: Overrides,
    fallback: &str,
) -> Result<ClusterSpec> {
    let (text, origin, directory) = read(path)?;
    let mut file = File::parse(&text, &origin).map_err(parse_error)?;
    // Of `vial.yaml` the directory is empty, which has no absolute form.
    let absolute = std::path::absolute(Path::new(".").join(&directory));
    file.resolve_paths(absolute.as_deref().unwrap_or(&directory));
    if overrides.name.is_none() && file.name.is_none() {
        overrides.name = Some(fallback.to_owned());
    }
    let resolve = |path: &Path| fs::read_to_string(directory.join(path));
    let overrides = settled(&overrides, file.sandbox.maker);
    file.validate(&overrides, &resolve)
        .map_err(validation_error)
}

/// Only flags; `existing` is what a cluster of that name was last asked to be.
pub(crate) fn from_flags(
    name: &str,
    overrides: Overrides,
    existing: Option<&ClusterSpec>,
) -> Result<ClusterSpec> {
    let overrides = Overrides {
        name: Some(name.to_owned()),
        ..overrides
    };
    let Some(existing) = existing else {
        return plain(&overrides).map_err(validation_error);
    };
    if overrides
        == (Overrides {
            name: Some(name.to_owned()),
            ..Overrides::default()
        })
    {
        return Ok(existing.clone());
    }
    if overrides
        == (Overrides {
            name: Some(name.to_owned()),
            ports: overrides.ports.clone(),
            ..Overrides::default()
        })
    {
        return with_ports(existing, overrides.ports);
    }
    let made_with = flags_of(existing);
    if plain(&made_with).as_ref() != Ok(existing) {
        return Err(Error::new(
            Code::Conflict,
            format!(
                "cluster `{name}` was made from a file, or its nodes were chosen one by one; flags alone cannot change it"
            ),
        )
        .hint(format!(
            "give the file again: vial up {name} -f vial.yaml and these flags"
        ))
        .hint("`vial node add` and `vial node rm` change how many nodes there are")
        .hint(format!(
            "or begin anew: vial down {name}, then vial up {name} with these flags"
        )));
    }
    let names_kubernetes = overrides.kubernetes.is_some();
    plain(&Overrides {
        name: overrides.name,
        workers: overrides.workers.or(made_with.workers),
        vm_workers: overrides.vm_workers.or(made_with.vm_workers),
        machines: overrides.machines.over(made_with.machines),
        vm: overrides.vm || made_with.vm,
        node_image: overrides
            .node_image
            .or(made_with.node_image.filter(|_| !names_kubernetes)),
        kubernetes: overrides.kubernetes,
        ip_family: overrides.ip_family.or(made_with.ip_family),
        cni: overrides.cni.or(made_with.cni),
        ports: more_ports(made_with.ports, overrides.ports),
        outbound: overrides.outbound.or(made_with.outbound),
        sandbox: SandboxOverrides {
            maker: overrides.sandbox.maker.or(made_with.sandbox.maker),
            cpus: overrides.sandbox.cpus.or(made_with.sandbox.cpus),
            memory: overrides.sandbox.memory.or(made_with.sandbox.memory),
        },
    })
    .map_err(validation_error)
}

/// The same cluster with more forwarded ports, whatever it was made from.
fn with_ports(existing: &ClusterSpec, more: Vec<PortForward>) -> Result<ClusterSpec> {
    let mut spec = existing.clone();
    // Only the flags are new; the nodes they may name are those that are there.
    let made_with = flags_of(existing);
    let name = Some(existing.name.clone());
    let ports = more_ports(existing.ports.clone(), more);
    let checked = Overrides {
        name,
        workers: made_with.workers,
        vm_workers: made_with.vm_workers,
        machines: made_with.machines,
        vm: made_with.vm,
        ports,
        ..Overrides::default()
    };
    spec.ports = plain(&checked).map_err(validation_error)?.ports;
    Ok(spec)
}

/// Ports add up; one that wants the port of another takes its place.
fn more_ports(mut ports: Vec<PortForward>, more: Vec<PortForward>) -> Vec<PortForward> {
    ports.retain(|one| !more.iter().any(|other| other.collides(one) || other == one));
    ports.extend(more);
    ports
}

/// The flags that would make this cluster, if flags alone could.
fn flags_of(spec: &ClusterSpec) -> Overrides {
    let workers = |driver: Driver| {
        let nodes = spec.nodes.iter().filter(|node| node.role == Role::Worker);
        u32::try_from(nodes.filter(|node| node.driver() == driver).count()).ok()
    };
    let vm = spec.nodes.iter().all(|node| node.driver() == Driver::Vm);
    Overrides {
        name: Some(spec.name.clone()),
        // `--vm` makes machines of all that are asked for.
        workers: workers(if vm { Driver::Vm } else { Driver::Container }),
        vm_workers: workers(Driver::Vm).filter(|_| !vm),
        vm,
        machines: spec
            .nodes
            .iter()
            .find_map(|node| node.machine.as_ref())
            .map(machine_flags)
            .unwrap_or_default(),
        kubernetes: None,
        node_image: Some(spec.node_image.clone()),
        ip_family: Some(spec.network.ip_family),
        cni: Some(spec.network.cni),
        ports: spec.ports.clone(),
        outbound: Some(spec.outbound),
        sandbox: match spec.sandbox.machine() {
            None => SandboxOverrides {
                maker: Some(Maker::Namespace),
                ..SandboxOverrides::default()
            },
            Some(machine) => SandboxOverrides {
                maker: Some(Maker::Vm),
                cpus: Some(machine.cpus),
                memory: Some(machine.memory),
            },
        },
    }
}

/// The flags that would make machines like this one, without those that say what is so anyway.
fn machine_flags(machine: &Machine) -> MachineEntry {
    let usual = Machine::default();
    let kernel = machine.kernel.clone();
    MachineEntry {
        cpus: (machine.cpus != usual.cpus).then_some(machine.cpus),
        memory: (machine.memory != usual.memory).then_some(machine.memory),
        ephemeral: machine.ephemeral.then_some(true),
        display: machine.display.then_some(true),
        kernel_modules: kernel.as_ref().and_then(|kernel| kernel.modules.clone()),
        kernel: kernel.map(|kernel| kernel.file),
        ..MachineEntry::default()
    }
}

fn plain(overrides: &Overrides) -> Result<ClusterSpec, ValidationErrors> {
    // Without a file there is nothing that could name another one.
    File::default().validate(&settled(overrides, None), &|_| {
        Err(io::Error::from(io::ErrorKind::NotFound))
    })
}

/// Who makes the sandbox where that is left open: only root can make namespaces, and everybody a machine.
fn settled(overrides: &Overrides, written: Option<Maker>) -> Overrides {
    let asked = overrides.sandbox.maker.or(written).unwrap_or_default();
    let maker = match asked {
        Maker::Auto if !rustix::process::geteuid().is_root() => Some(Maker::Vm),
        _ => overrides.sandbox.maker,
    };
    let sandbox = SandboxOverrides {
        maker,
        ..overrides.sandbox.clone()
    };
    Overrides {
        sandbox,
        ..overrides.clone()
    }
}

/// Text, name for messages, and the directory that relative paths start from.
pub(crate) fn read(path: &Path) -> Result<(String, String, PathBuf)> {
    if path == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| {
            Error::caused("cannot read standard input", error).with_code(Code::BadInput)
        })?;
        return Ok((text, "<stdin>".into(), PathBuf::from(".")));
    }
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(Error::unreadable(&shown))?;
    let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
    Ok((text, shown, directory))
}

fn parse_error(error: ParseError) -> Error {
    let hint = error.hint.clone();
    let bare = ParseError {
        hint: None,
        ..error
    };
    Error::new(Code::BadInput, bare.to_string()).maybe_hint(hint)
}

fn validation_error(error: ValidationErrors) -> Error {
    let origin = error.origin;
    let line = |problem: &Problem| {
        let position = problem
            .position
            .map(|(line, column)| format!("{origin}:{line}:{column}: "))
            .unwrap_or_default();
        let path = if problem.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.path)
        };
        format!("{position}{path}{}", problem.message)
    };
    match error.problems.as_slice() {
        [one] => Error::new(Code::BadInput, line(one)).maybe_hint(one.hint.clone()),
        many => {
            let what = if origin.is_empty() {
                "what was asked for"
            } else {
                origin.as_str()
            };
            let error = Error::new(
                Code::BadInput,
                format!("{what} has {} mistakes", many.len()),
            );
            many.iter().fold(error, |error, problem| {
                let hint = problem
                    .hint
                    .as_ref()
                    .map(|hint| format!(" ({hint})"))
                    .unwrap_or_default();
                error.detail(line(problem) + &hint)
            })
        }
    }
}

/// The name when the person gave none: VIAL_CLUSTER, or `vial`.
pub(crate) fn default_name() -> String {
    std::env::var("VIAL_CLUSTER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_CLUSTER.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vial.yaml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn workers(spec: &ClusterSpec) -> usize {
        spec.nodes
            .iter()
            .filter(|node| node.role == Role::Worker)
            .count()
    }

    #[test]
    fn flags_win_over_the_file_and_the_fallback_names_what_has_no_name() {
        let (_dir, path) = file("apiVersion: vial/v1\nkind: Cluster\nworkers: 3\n");
        let spec = from_file(&path, Overrides::default(), "dev").unwrap();
        assert_eq!((spec.name.as_str(), workers(&spec)), ("dev", 3));
        let spec = from_file(
            &path,
            Overrides {
                workers: Some(1),
                name: Some("x".into()),
                ..Overrides::default()
            },
            "dev",
        )
        .unwrap();
        assert_eq!((spec.name.as_str(), workers(&spec)), ("x", 1));
        let (_dir, path) = file("apiVersion: vial/v1\nkind: Cluster\nname: mine\n");
        assert_eq!(
            from_file(&path, Overrides::default(), "dev").unwrap().name,
            "mine"
        );
    }

    #[test]
    fn files_are_found_beside_the_file() {
        let (dir, path) = file("apiVersion: vial/v1\nkind: Cluster\nmanifests: [extra.yaml]\n");
        fs::write(
            dir.path().join("extra.yaml"),
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n",
        )
        .unwrap();
        assert_eq!(
            from_file(&path, Overrides::default(), "dev")
                .unwrap()
                .manifests
                .len(),
            1
        );
    }

    #[test]
    fn a_mistake_has_line_column_and_what_was_meant() {
        let (_dir, path) = file("apiVersion: vial/v1\nkind: Cluster\nworker: 3\n");
        let error = from_file(&path, Overrides::default(), "dev").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.line().unwrap().contains("vial.yaml:3:1"), "{error:?}");
        assert!(error.hints()[0].contains("workers"), "{error:?}");
        let missing = from_file(
            Path::new("/nonexistent/vial.yaml"),
            Overrides::default(),
            "dev",
        )
        .unwrap_err();
        assert_eq!(missing.exit_code(), 3);
        assert!(
            missing
                .line()
                .unwrap()
                .starts_with("cannot read /nonexistent/vial.yaml: ")
        );
    }

    #[test]
    fn several_mistakes_are_told_at_once() {
        let (_dir, path) = file("apiVersion: vial/v1\nkind: Cluster\nname: Not_OK\nworkers: 99\n");
        let error = from_file(&path, Overrides::default(), "dev").unwrap_err();
        assert!(
            error.line().unwrap().ends_with("vial.yaml has 2 mistakes"),
            "{error:?}"
        );
        assert!(
            error.details()[0].contains("vial.yaml:3:")
                && error.details()[1].contains("vial.yaml:4:"),
            "{error:?}"
        );
    }

    #[test]
    fn an_existing_cluster_stays_as_it_is_without_flags() {
        let (_dir, path) = file(
            "apiVersion: vial/v1\nkind: Cluster\nworkers: 3\nfeatureGates: {InPlacePodVerticalScaling: true}\n",
        );
        let existing = from_file(&path, Overrides::default(), "dev").unwrap();
        assert_eq!(
            from_flags("dev", Overrides::default(), Some(&existing)).unwrap(),
            existing
        );
        let error = from_flags(
            "dev",
            Overrides {
                workers: Some(1),
                ..Overrides::default()
            },
            Some(&existing),
        )
        .unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.hints()[0].contains("-f") && error.hints()[2].contains("vial down dev"));
    }

    #[test]
    fn flags_add_up_over_the_life_of_a_cluster() {
        let first = Overrides {
            workers: Some(3),
            ip_family: Some(vial_spec::IpFamily::Ipv4),
            ..Overrides::default()
        };
        let existing = from_flags("dev", first, None).unwrap();
        let spec = from_flags(
            "dev",
            Overrides {
                workers: Some(4),
                ..Overrides::default()
            },
            Some(&existing),
        )
        .unwrap();
        assert_eq!(
            (workers(&spec), spec.network.ip_family),
            (4, vial_spec::IpFamily::Ipv4)
        );
        let spec = from_flags(
            "dev",
            Overrides {
                kubernetes: Some("1.36.3".into()),
                ..Overrides::default()
            },
            Some(&existing),
        )
        .unwrap();
        assert_eq!(
            (workers(&spec), spec.node_image.as_str()),
            (3, "vial/node:v1.36.3")
        );
    }

    #[test]
    fn ports_add_up_whatever_the_cluster_was_made_from() {
        let ports = |texts: &[&str]| Overrides {
            ports: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..Overrides::default()
        };
        let (_dir, path) = file(
            "apiVersion: vial/v1\nkind: Cluster\nworkers: 1\netcd: {fsync: true}\nports: ['8080:w-1:80', '9090:w-1:90']\n",
        );
        let existing = from_file(&path, Overrides::default(), "dev").unwrap();
        let spec = from_flags(
            "dev",
            ports(&["8080:svc/a/b:80", "0:w-1:1"]),
            Some(&existing),
        )
        .unwrap();
        let shown: Vec<String> = spec.ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["9090:w-1:90", "8080:svc/a/b:80", "0:w-1:1"]);
        assert!(spec.etcd.fsync, "everything else is as the file made it");
        let error = from_flags("dev", ports(&["1:w-2:80"]), Some(&existing)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.line().unwrap().contains("w-2"), "{error:?}");
        // Flags over a file take the place of what wants the same port.
        let spec = from_file(&path, ports(&["9090:w-1:91"]), "dev").unwrap();
        assert_eq!(spec.ports.len(), 2);
    }

    #[test]
    fn bad_flags_are_bad_input() {
        let error = from_flags(
            "dev",
            Overrides {
                workers: Some(21),
                ..Overrides::default()
            },
            None,
        )
        .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.line().unwrap().contains("--workers"), "{error:?}");
    }
}
