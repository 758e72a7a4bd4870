//! What a person types: the global flags and the commands. No work is done here.

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::error::EXIT_CODES;
use crate::ui::ColorChoice;
use crate::wanted::default_name;

const ENVIRONMENT: &str = "\
Environment:
  VIAL_CLUSTER  the cluster that is meant when none is named (default: vial)
  VIAL_HOME     what is kept: node images, clusters (default: /var/lib/vial)
  VIAL_RUN      sockets and locks (default: /run/vial)
  VIAL_COLD     true: every cluster is started, as by `vial up --cold`
  VIAL_LOG      what to log to standard error, as for -v: info, debug, vial_image=trace, …
  KUBECONFIG    the kubeconfig to merge into, as for kubectl
  NO_COLOR      no colour, unless --color=always";

const EXAMPLES: &str = "\
Examples:
  vial up                        a cluster of one control plane and two workers
  kubectl get nodes              its context is the current one
  vial check                     is everything as it should be?
  vial exec w-1 -it -- bash      a shell on a node
  vial down                      nothing is left";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{EXIT_CODES}")
}

/// Real Kubernetes clusters that are sealed, disposable and freezable on one Linux machine.
///
/// A cluster is one process tree in namespaces of its own: nothing of the host's network, iptables or /etc is ever
/// changed, any number of clusters run side by side, and `vial down` leaves nothing.
#[derive(Debug, Parser)]
#[command(name = "vial", version, max_term_width = 110, after_help = after_help(), propagate_version = false)]
#[command(
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// The global flags.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Say nothing but data, warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log what vial does to standard error; -vv logs more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorChoice,
}

/// The cluster, for commands that are about it.
#[derive(Debug, Args)]
pub(crate) struct ClusterName {
    /// The cluster [env: VIAL_CLUSTER]
    #[arg(value_name = "NAME", default_value_t = default_name())]
    pub(crate) name: String,
}

/// The cluster, for commands that are about something in it.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlag {
    /// The cluster [env: VIAL_CLUSTER]
    #[arg(short, long, value_name = "NAME", default_value_t = default_name())]
    pub(crate) cluster: String,
}

/// `NAME=VALUE`, as flags for variables and labels take it.
pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a cluster, change it, or start it again
    Up(commands::up::UpArgs),
    /// Remove clusters, with all that belongs to them
    Down(commands::down::DownArgs),
    /// Stop a cluster: all that runs is kept on disk, and goes on with `vial start`
    Stop(commands::stop::StopArgs),
    /// Have a stopped cluster go on where it was, or start from its disks
    Start(commands::start::StartArgs),
    /// Halt all that runs in a cluster; it keeps its memory and takes no processor time
    Pause(commands::pause::PauseArgs),
    /// Let a paused cluster go on
    Resume(commands::resume::ResumeArgs),
    /// Freeze a running cluster to a template, at one point in time
    Freeze(commands::freeze::FreezeArgs),
    /// Make a new cluster that goes on from a template
    Thaw(commands::thaw::ThawArgs),
    /// Copy a running cluster: the copies go on from this moment, and so does the cluster
    Fork(commands::fork::ForkArgs),
    /// Frozen clusters: list, look at and remove them
    Template(commands::template::TemplateArgs),
    /// List the clusters
    #[command(visible_alias = "list")]
    Ls(commands::ls::LsArgs),
    /// Show a cluster: nodes, components, endpoints
    Status(commands::status::StatusArgs),
    /// Try whether a cluster works: nodes, DNS, services
    Check(commands::check::CheckArgs),
    /// Show the logs of a cluster's nodes, merged in the order of time
    Logs(commands::logs::LogsArgs),
    /// Show what happened to a cluster, its nodes and its components
    Events(commands::events::EventsArgs),
    /// Run a command on a node
    Exec(commands::exec::ExecArgs),
    /// Connect standard input and output to a port in a cluster
    Netcat(commands::netcat::NetcatArgs),
    /// Stop, start, reset, remove and add single nodes
    Node(commands::node::NodeArgs),
    /// Log in to a node with your own ssh
    Ssh(commands::ssh::SshArgs),
    /// Sit at the serial console of a node that is a virtual machine
    Console(commands::console::ConsoleArgs),
    /// Write what the screen of a virtual machine shows to a PNG file
    Screenshot(commands::screenshot::ScreenshotArgs),
    /// Show the screen of a virtual machine to viewers of VNC
    Vnc(commands::vnc::VncArgs),
    /// Print a configuration with which ssh, scp, rsync and Ansible find nodes
    SshConfig(commands::ssh_config::SshConfigArgs),
    /// Copy files between nodes and this machine
    Cp(commands::cp::CpArgs),
    /// Make pods to log in to, on any Kubernetes
    Pod(commands::pod::PodArgs),
    /// Forward ports of the host into a cluster
    Port(commands::port::PortArgs),
    /// Print a cluster's kubeconfig, or merge it into yours
    Kubeconfig(commands::kubeconfig::KubeconfigArgs),
    /// Run the kubectl of the cluster's own version
    Kubectl(commands::kubectl::KubectlArgs),
    /// Show the cluster's registry, or clean it
    Registry(commands::registry::RegistryArgs),
    /// Gather all that a bug report needs into one archive, without secrets
    Diagnose(commands::diagnose::DiagnoseArgs),
    /// Check whether this machine has what vial needs
    Doctor(commands::doctor::DoctorArgs),
    /// Bring container images into a cluster, list and remove them
    Image(commands::image::ImageArgs),
    /// Build and look at node images
    NodeImage(commands::node_image::NodeImageArgs),
    /// Print a completion script for a shell
    Completion(commands::completion::CompletionArgs),
    /// Print the version
    Version(commands::version::VersionArgs),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(commands::man::ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(std::iter::once("vial").chain(line.split_whitespace()))
            .map(|cli| cli.command)
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_as_reviewed() {
        let mut command = Cli::command().term_width(110);
        // So that subcommands know by what they are called.
        command.build();
        insta::assert_snapshot!("help", command.render_help());
        for name in [
            "up",
            "exec",
            "logs",
            "diagnose",
            "netcat",
            "kubeconfig",
            "registry",
            "node-image",
            "cp",
            "ssh",
            "ssh-config",
            "freeze",
            "thaw",
            "fork",
            "template",
            "stop",
            "start",
            "pause",
            "resume",
        ] {
            let help = command
                .find_subcommand_mut(name)
                .unwrap()
                .render_long_help();
            insta::assert_snapshot!(format!("help_{name}"), help);
        }
    }

    #[test]
    fn every_command_and_flag_has_a_help_text() {
        fn visit(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }

    #[test]
    fn exec_passes_everything_after_the_dashes() {
        let Command::Exec(exec) = parse("exec w-1 -it -- ls -l --color=auto -c x").unwrap() else {
            panic!()
        };
        assert_eq!(exec.node, "w-1");
        assert_eq!(exec.command, ["ls", "-l", "--color=auto", "-c", "x"]);
        assert!(parse("exec w-1").is_err());
        assert!(
            parse("exec w-1 ls").is_err(),
            "without the dashes a flag of the command could become ours"
        );
    }

    #[test]
    fn ssh_gets_what_comes_after_the_node() {
        let line = "ssh -c dev root@w-1 -v -c aes128-ctr -q -- ls -l";
        let Command::Ssh(ssh) = parse(line).unwrap() else {
            panic!()
        };
        assert_eq!(ssh.cluster.cluster, "dev");
        let expected = "root@w-1 -v -c aes128-ctr -q -- ls -l";
        assert_eq!(ssh.arguments.join(" ".as_ref()), expected);
        assert!(parse("ssh").is_err());
    }

    #[test]
    fn kubectl_gets_its_own_flags() {
        let Command::Kubectl(kubectl) =
            parse("kubectl -c dev logs pod -c app -v=6 -o json -q").unwrap()
        else {
            panic!()
        };
        assert_eq!(kubectl.cluster.cluster, "dev");
        assert_eq!(
            kubectl.arguments,
            ["logs", "pod", "-c", "app", "-v=6", "-o", "json", "-q"]
        );
        let Command::Kubectl(kubectl) = parse("kubectl get nodes --help").unwrap() else {
            panic!()
        };
        assert_eq!(kubectl.arguments, ["get", "nodes", "--help"]);
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for line in [
            "up --kubernetes 1.36 --node-image a:b",
            "down a --all",
            "kubeconfig --merge --unmerge",
            "up --workers -1",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
