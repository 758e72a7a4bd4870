//! One file for each command: what may be typed (`XArgs`) and what is done (`run`).

pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod console;
pub(crate) mod cp;
pub(crate) mod diagnose;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod freeze;
pub(crate) mod image;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod netcat;
pub(crate) mod node;
pub(crate) mod node_image;
pub(crate) mod pause;
pub(crate) mod pod;
pub(crate) mod port;
pub(crate) mod registry;
pub(crate) mod resume;
pub(crate) mod screenshot;
pub(crate) mod ssh;
pub(crate) mod ssh_config;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod template;
pub(crate) mod thaw;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod vnc;

use crate::cli::Command;
use crate::context::Context;
use crate::error::Result;

/// Does what was asked for.
pub(crate) async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Stop(args) => stop::run(context, args).await,
        Command::Start(args) => start::run(context, args).await,
        Command::Pause(args) => pause::run(context, args).await,
        Command::Resume(args) => resume::run(context, args).await,
        Command::Freeze(args) => freeze::run(context, args).await,
        Command::Thaw(args) => thaw::run(context, args).await,
        Command::Fork(args) => fork::run(context, args).await,
        Command::Template(args) => template::run(context, args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Check(args) => check::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Console(args) => console::run(context, args).await,
        Command::Screenshot(args) => screenshot::run(context, args).await,
        Command::Vnc(args) => vnc::run(context, args).await,
        Command::Cp(args) => cp::run(context, args).await,
        Command::Ssh(args) => ssh::run(context, args).await,
        Command::SshConfig(args) => ssh_config::run(context, args).await,
        Command::Kubeconfig(args) => kubeconfig::run(context, args).await,
        Command::Kubectl(args) => kubectl::run(context, args).await,
        Command::Registry(args) => registry::run(context, args).await,
        Command::Diagnose(args) => diagnose::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Netcat(args) => netcat::run(context, args).await,
        Command::Pod(args) => pod::run(context, args).await,
        Command::Port(args) => port::run(context, args).await,
        Command::Image(args) => image::run(context, args).await,
        Command::Node(args) => node::run(context, args).await,
        Command::NodeImage(args) => node_image::run(context, args).await,
        Command::Completion(args) => completion::run(context, args),
        Command::Version(args) => version::run(context, args),
        Command::Man(args) => man::run(context, &args),
    }
}
