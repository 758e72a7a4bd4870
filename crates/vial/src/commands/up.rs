//! `vial up [NAME]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum, ValueHint};
use futures::StreamExt as _;
use vial_engine::record::{self, Record};
use vial_image::{BuildOptions, Reference, Store};
use vial_keeper::api::{ClusterStatus, Event, Start, UpRequest};
use vial_keeper::client::Client;
use vial_spec::file::MachineEntry;
use vial_spec::port::PortForward;
use vial_spec::size::Size;
use vial_spec::{
    ClusterSpec, Cni, IpFamily, Maker, Outbound, Overrides, SandboxOverrides, defaults,
};

use super::status::Status;
use crate::context::{Context, DEFAULT_CLUSTER, check_name, command_line, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::kubeconfig::context_name;
use crate::output::{self, Format};
use crate::ui::{Progress, Style, Ui};
use crate::{arrive, image, interrupt, wanted, when};

/// Flags that are about virtual machines only.
const MACHINES: &str = "Virtual machines";

/// Make a cluster, change it, or start it again
///
/// Idempotent: what is there and as it should be is left alone. The node image is built first when it is missing. The
/// cluster's context is merged into your kubeconfig and made the current one; `vial down` takes it out again.
///
/// The work is done by the cluster's keeper in the background: after Ctrl-C it goes on, and another `vial up` of the same
/// name shows it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial up                                one control plane, two workers
  vial up dev --workers 5 --ip-family ipv4
  vial up --vm-workers 2                 two workers that are virtual machines
  vial up --vm --workers 1               all nodes are
  vial up --vm-workers 1 --vm-memory 1Gi --kernel bzImage --modules /lib/modules/6.18.2
  vial up --sandbox vm --memory 6Gi      all of it in one virtual machine, for anybody
  vial up dev -f vial.yaml               as the file says; again after changing it
  vial up --kubernetes 1.35              another version
  vial up -p 8080:svc/default/web:80     127.0.0.1:8080 leads to a Service, also to one that comes later
  generate | vial up -f -                a file from standard input")]
pub(crate) struct UpArgs {
    /// The cluster; without it the file's name, VIAL_CLUSTER or `vial`
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// What the cluster shall be, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many workers, at most 20 [default: 2]
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// How many workers more as virtual machines; without --workers these are all [default: 0]
    #[arg(long, value_name = "N")]
    vm_workers: Option<u32>,
    /// All nodes as virtual machines, the control plane too
    #[arg(long, conflicts_with = "vm_workers")]
    vm: bool,
    /// Processors of each virtual machine [default: 2]
    #[arg(long, value_name = "N", help_heading = MACHINES)]
    vm_cpus: Option<u32>,
    /// Memory of each virtual machine [default: 2Gi]
    #[arg(long, value_name = "SIZE", help_heading = MACHINES)]
    vm_memory: Option<Size>,
    /// Virtual machines keep what they write in memory, and lose it when they end
    #[arg(long, help_heading = MACHINES)]
    ephemeral: bool,
    /// Virtual machines have a screen and a keyboard: see `vial screenshot`, `vial vnc`
    #[arg(long, help_heading = MACHINES)]
    display: bool,
    /// A kernel for virtual machines instead of the node image's: bzImage or ELF
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MACHINES)]
    kernel: Option<PathBuf>,
    /// The modules of that kernel: a directory like /lib/modules/VERSION
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "kernel", help_heading = MACHINES)]
    modules: Option<PathBuf>,
    /// The version of Kubernetes: stands for the node image vial/node:VERSION [default: v1.36.3]
    #[arg(long, value_name = "VERSION", conflicts_with = "node_image")]
    kubernetes: Option<String>,
    /// The node image, as NAME:TAG
    #[arg(long, value_name = "IMAGE")]
    node_image: Option<String>,
    /// Address families of nodes, pods and services [default: dual]
    #[arg(long, value_name = "FAMILY", value_enum)]
    ip_family: Option<Family>,
    /// How pods are connected; with `none` nodes stay NotReady until you install a network [default: bridge]
    #[arg(long, value_name = "CNI", value_enum)]
    cni: Option<Network>,
    /// Forward a port of the host, any number of times: [ADDRESS:]PORT:TARGET:PORT, see `vial port add --help`
    #[arg(short, long = "port", value_name = "PORT")]
    ports: Vec<PortForward>,
    /// Whether nodes and pods reach what the host reaches [default: auto]
    #[arg(long, value_name = "OUTBOUND", value_enum)]
    outbound: Option<Way>,
    /// What holds the cluster: namespaces of the host (root only), or one virtual machine [default: auto]
    #[arg(long, value_name = "SANDBOX", value_enum)]
    sandbox: Option<Sandbox>,
    /// Processors of the virtual machine that is the sandbox [default: 2]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Its memory, such as 6Gi [default: 4Gi]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Start everything: neither from a template, nor from what the cluster was frozen to [env: VIAL_COLD]
    #[arg(long, env = "VIAL_COLD", hide_env = true)]
    cold: bool,
    /// Keys that no other cluster has, even where a template would be quicker
    #[arg(long)]
    fresh_keys: bool,
    /// Do not wait: return as soon as the keeper is at work
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the cluster; the work goes on afterwards
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = when::parse_span, conflicts_with = "no_wait")]
    timeout: Duration,
    /// Leave kubeconfig files alone
    #[arg(long)]
    no_kubeconfig: bool,
    /// Write when which step ran to this file, as a Chrome trace (for ui.perfetto.dev)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print the cluster at the end
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    output: Option<Format>,
}

/// `--ip-family`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Family {
    Ipv4,
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

/// `--cni`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Network {
    /// vial's own.
    Bridge,
    /// Yours.
    None,
}

/// `--outbound`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// They do, where the host has a network.
    Auto,
    /// The cluster is sealed.
    None,
}

/// `--sandbox`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sandbox {
    /// For root namespaces, for everybody else a machine.
    Auto,
    /// On the host's kernel.
    Namespace,
    /// One virtual machine, which needs no right.
    Vm,
}

pub(crate) async fn run(context: &Context, args: UpArgs) -> Result {
    context.require_owner("make a cluster")?;
    let spec = spec(context, &args)?;
    let name = spec.name.clone();
    let nodes = spec.nodes.iter();
    let containers: Vec<String> = nodes
        .map(|node| node.name.clone() + ".control-plane")
        .collect();
    let containers = containers.iter().map(String::as_str);
    context.paths.check_sockets(&name, containers)?;
    if spec.sandbox.machine().is_none() {
        context
            .require_root("make a sandbox of namespaces")
            .map_err(|error| {
                error.hint("--sandbox vm makes it of one virtual machine, which everybody can")
            })?;
    }
    // What would be refused at the end is refused before anything is made.
    let place = arrive::place(!args.no_kubeconfig)?;
    let began = Instant::now();
    let mut progress = context.ui.progress().tracing(args.trace.is_some());
    let result = make(context, &args, spec, &mut progress).await;
    progress.end(result.is_err());
    if let Some(path) = &args.trace {
        progress.write_trace(path)?;
    }
    let Some((client, status)) = result? else {
        return Ok(Exit::OK);
    };

    arrive::settle(context, &name, &client, place.as_ref()).await?;
    say_up(&context.ui, &status, began.elapsed());
    let ui = &context.ui;
    for line in next_steps(&name, place.is_some(), kubectl_is_installed()) {
        ui.status(line);
    }
    if let Some(format) = args.output {
        output::print(ui, format, &Status(status))?;
    }
    Ok(Exit::OK)
}

/// The line that says so, and ports that lead nowhere yet.
pub(super) fn say_up(ui: &Ui, status: &ClusterStatus, took: Duration) {
    let name = &status.name;
    let took = crate::ui::seconds(took);
    let nodes = match status.nodes.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    let what = format!(
        "cluster {name} is up: kubernetes {}, {nodes}",
        status.kubernetes
    );
    ui.status(format!(
        "{} {what} {}",
        ui.paint_err(Style::Good, "✓"),
        ui.paint_err(Style::Dim, &format!("({took})"))
    ));
    for port in status
        .endpoints
        .iter()
        .filter(|one| !one.message.is_empty())
    {
        ui.status(format!(
            "  {} leads nowhere yet: {}",
            port.host, port.message
        ));
    }
}

/// Where it starts from.
fn from(args: &UpArgs) -> Start {
    match (args.cold, args.fresh_keys) {
        (true, _) => Start::Cold,
        (false, true) => Start::FreshKeys,
        (false, false) => Start::Quickest,
    }
}

/// What shall be made.
fn spec(context: &Context, args: &UpArgs) -> Result<ClusterSpec> {
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let overrides = Overrides {
        name: args.name.clone(),
        workers: args.workers,
        vm_workers: args.vm_workers,
        machines: machines(args)?,
        vm: args.vm,
        kubernetes: args.kubernetes.as_deref().map(whole_version),
        node_image: args.node_image.clone(),
        ip_family: args.ip_family.map(|family| match family {
            Family::Ipv4 => IpFamily::Ipv4,
            Family::Ipv6 => IpFamily::Ipv6,
            Family::Dual => IpFamily::Dual,
        }),
        cni: args.cni.map(|cni| match cni {
            Network::Bridge => Cni::Bridge,
            Network::None => Cni::None,
        }),
        ports: args.ports.clone(),
        outbound: args.outbound.map(|way| match way {
            Way::Auto => Outbound::Auto,
            Way::None => Outbound::None,
        }),
        sandbox: SandboxOverrides {
            maker: args.sandbox.map(|sandbox| match sandbox {
                Sandbox::Auto => Maker::Auto,
                Sandbox::Namespace => Maker::Namespace,
                Sandbox::Vm => Maker::Vm,
            }),
            cpus: args.cpus,
            memory: args.memory,
        },
    };
    if let Some(file) = &args.file {
        return wanted::from_file(file, overrides, &wanted::default_name());
    }
    let name = args.name.clone().unwrap_or_else(wanted::default_name);
    check_name(&name)?;
    let record = Record::load(&context.paths, &name)
        .map_err(|error| {
            let hint = error.hint();
            Error::caused(format!("cluster `{name}`"), error).maybe_hint(hint)
        })?
        // Of a cluster that is being removed nothing is wanted any more; the keeper finishes the removal first.
        .filter(|record| record.journal != record::Journal::Deleting);
    wanted::from_flags(&name, overrides, record.as_ref().map(|record| &record.spec))
}

/// What the flags say of virtual machines.
fn machines(args: &UpArgs) -> Result<MachineEntry> {
    // The keeper has another working directory.
    let absolute = |path: &Option<PathBuf>| {
        let path = path.as_ref().map(std::path::absolute).transpose();
        path.map_err(|error| Error::caused("cannot find the working directory", error))
    };
    Ok(MachineEntry {
        cpus: args.vm_cpus,
        memory: args.vm_memory,
        ephemeral: args.ephemeral.then_some(true),
        display: args.display.then_some(true),
        kernel: absolute(&args.kernel)?,
        kernel_modules: absolute(&args.modules)?,
        ..MachineEntry::default()
    })
}

/// `1.35` is the 1.35 that vial has components for; what it does not know is left for the checks to refuse.
fn whole_version(text: &str) -> String {
    vial_image::supported(text).map_or_else(|_| text.to_owned(), |known| known.version.to_owned())
}

/// Node image, keeper, cluster. `None` when nobody waits for the end.
async fn make(
    context: &Context,
    args: &UpArgs,
    spec: ClusterSpec,
    progress: &mut Progress,
) -> Result<Option<(Client, ClusterStatus)>> {
    let name = spec.name.clone();
    ensure_image(context, &spec, progress).await?;
    let client = Client::start(&context.paths, &name)
        .await
        .map_err(|error| keeper_error(&name, error))?;
    let mut events = std::pin::pin!(
        client
            .up(&UpRequest {
                spec,
                start: from(args),
            })
            .await
            .map_err(|error| keeper_error(&name, error))?
    );
    let deadline = tokio::time::sleep(args.timeout);
    tokio::pin!(deadline);
    let status = loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => return Err(left_alone(Code::Interrupted, "interrupted", &name)),
            () = &mut deadline => {
                let what = format!("not up after {}", crate::ui::seconds(args.timeout));
                return Err(left_alone(Code::TimedOut, &what, &name));
            }
        };
        match event {
            Some(Ok(Event::Done {
                status: Some(status),
            })) => break *status,
            Some(Ok(Event::Done { status: None })) => {
                return Err(Error::new(
                    Code::Conflict,
                    format!("cluster `{name}` was removed meanwhile"),
                ));
            }
            Some(Ok(Event::Failed {
                message,
                hint,
                code,
            })) => {
                return Err(Error::told(code, &message, hint));
            }
            Some(Ok(event)) => progress.event(&event),
            Some(Err(error)) => return Err(keeper_error(&name, error)),
            None => {
                return Err(Error::new(
                    Code::Failed,
                    format!("the keeper of cluster `{name}` ended before the cluster was up"),
                )
                .hint(format!(
                    "{} goes on where it was",
                    command_line("up", &name)
                )));
            }
        }
        if args.no_wait {
            progress.end(false);
            context.ui.status(format!(
                "cluster {name} is being made; {} shows it",
                command_line("up", &name)
            ));
            return Ok(None);
        }
    };
    Ok(Some((client, status)))
}

/// The keeper goes on without us.
fn left_alone(code: Code, what: &str, name: &str) -> Error {
    Error::new(
        code,
        format!("{what}; cluster `{name}` is still being made in the background"),
    )
    .hint(format!("{} shows it again", command_line("up", name)))
    .hint(format!("{} undoes it", command_line("down", name)))
}

/// Builds the node image when it is missing and one of vial's own.
async fn ensure_image(
    context: &Context,
    spec: &ClusterSpec,
    progress: &mut Progress,
) -> Result<()> {
    let store = Store::open(&context.paths.home)?;
    // An existing cluster stands on the image it was made with, whatever its name names today.
    let recorded = Record::load(&context.paths, &spec.name)
        .ok()
        .flatten()
        .filter(|record| record.spec.node_image == spec.node_image)
        .map(|record| record.image_digest);
    for wanted in recorded.iter().chain([&spec.node_image]) {
        match store.ready(wanted) {
            Ok(_) => return Ok(()),
            Err(vial_image::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let reference: Reference = spec.node_image.parse()?;
    if reference.name() != defaults::NODE_IMAGE_REPOSITORY {
        return Err(Error::new(
            Code::NotFound,
            format!("no node image `{}`", spec.node_image),
        )
        .hint(format!(
            "`vial node-image ls` lists what there is, `vial node-image build -t {}` makes it",
            spec.node_image
        )));
    }
    vial_image::supported(reference.tag())?;
    context
        .require_root("build a node image")
        .map_err(|error| {
            error.hint("`vial node-image load` brings one that is built, which everybody can")
        })?;
    progress.note(&format!(
        "node image {reference} is not here yet: it is built once, which takes some minutes"
    ));
    let options = BuildOptions {
        kubernetes: reference.tag().to_owned(),
        tag: Some(spec.node_image.clone()),
        ..BuildOptions::default()
    };
    image::build(&store, &options, progress).await?;
    Ok(())
}

/// Exactly three lines: look, check, remove.
fn next_steps(name: &str, merged: bool, kubectl: bool) -> [String; 3] {
    let flag = if name == DEFAULT_CLUSTER {
        String::new()
    } else {
        format!(" -c {name}")
    };
    let argument = if name == DEFAULT_CLUSTER {
        String::new()
    } else {
        format!(" {name}")
    };
    let look = if merged && kubectl {
        (
            "kubectl get nodes".to_owned(),
            format!("context {} is the current one", context_name(name)),
        )
    } else {
        (
            format!("vial kubectl{flag} get nodes"),
            "the kubectl of the node image".to_owned(),
        )
    };
    let lines = [
        look,
        (
            format!("vial check{argument}"),
            "nodes, DNS and services from every node".to_owned(),
        ),
        (format!("vial down{argument}"), "nothing is left".to_owned()),
    ];
    let width = lines
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or_default();
    lines.map(|(command, note)| format!("  {command:width$}   # {note}"))
}

fn kubectl_is_installed() -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("kubectl").is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_of_what_to_do_next() {
        insta::assert_snapshot!(next_steps("vial", true, true).join("\n"), @r"
          kubectl get nodes   # context vial-vial is the current one
          vial check          # nodes, DNS and services from every node
          vial down           # nothing is left
        ");
        insta::assert_snapshot!(next_steps("dev", false, true).join("\n"), @r"
          vial kubectl -c dev get nodes   # the kubectl of the node image
          vial check dev                  # nodes, DNS and services from every node
          vial down dev                   # nothing is left
        ");
    }

    #[test]
    fn a_minor_version_is_enough() {
        assert_eq!(whole_version("1.36"), "v1.36.3");
        assert_eq!(whole_version("1.2.3"), "1.2.3");
    }

    #[test]
    fn who_goes_away_is_told_that_the_work_goes_on() {
        let error = left_alone(Code::Interrupted, "interrupted", "dev");
        assert_eq!(error.exit_code(), 130);
        assert!(error.line().unwrap().contains("in the background"));
        assert!(
            error.hints()[0].contains("vial up dev") && error.hints()[1].contains("vial down dev")
        );
    }
}
