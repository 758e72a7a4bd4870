//! `vial vnc NODE`.
//!
//! ```text
//! viewer ── 127.0.0.1:PORT ──► vial ── vnc.sock ──► QEMU      any number; each dials anew, so that a machine that comes back is seen
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use vial_qemu::arguments::VNC_SOCKET;

use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::node_name::NodeName;
use crate::ui::Ui;
use crate::{interrupt, machine};

/// How long to wait after a connection could not be accepted: descriptors are scarce, and some will be free again.
const SCARCE: Duration = Duration::from_millis(100);

/// Show the screen of a virtual machine to viewers of VNC
///
/// It listens on 127.0.0.1 until Ctrl-C. What is typed in the viewer comes to the machine's keyboard. There is no password:
/// whoever can connect to this machine's loopback address sees the screen meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial vnc w-1                        then: vncviewer 127.0.0.1::PORT
  vial vnc w-1 --port 5901            then: vncviewer :1
A machine has a screen when it is made with `vial up --display`, or with `vm: {display: true}` in vial.yaml.")]
pub(crate) struct VncArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// The node: w-1, …
    node: String,
    /// The port on 127.0.0.1; 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

pub(crate) async fn run(context: &Context, args: VncArgs) -> Result {
    context.require_owner("see a screen")?;
    let name = NodeName::parse(&args.node, &args.cluster.cluster);
    let socket = machine::with_display(context, &name)?.join(VNC_SOCKET);
    // What leads nowhere is told before anybody listens.
    let tried = UnixStream::connect(&socket).await;
    tried.map_err(|error| machine::does_not_answer(&name, error))?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let listener = listener.map_err(|error| {
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let error = Error::caused(format!("cannot listen on 127.0.0.1:{}", args.port), error);
        match taken {
            true => error
                .with_code(Code::Conflict)
                .hint("without --port it is a free one"),
            false => error,
        }
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::caused("cannot tell where we listen", error))?;
    context.ui.status(format!(
        "the screen of {}, until Ctrl-C: vncviewer 127.0.0.1::{}",
        name.node,
        address.port()
    ));
    context.ui.data(format!("{address}\n"))?;
    tokio::select! {
        () = interrupt::signal() => Ok(Exit::OK),
        never = serve(&context.ui, &listener, &socket) => match never {},
    }
}

async fn serve(ui: &Ui, listener: &TcpListener, socket: &Path) -> std::convert::Infallible {
    let mut viewers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((viewer, _)) => drop(viewers.spawn(show(ui.clone(), viewer, socket.to_path_buf()))),
                Err(_) => tokio::time::sleep(SCARCE).await,
            },
            Some(_) = viewers.join_next() => {}
        }
    }
}

/// One viewer, until it or the machine goes: either is their business.
async fn show(ui: Ui, mut viewer: TcpStream, socket: PathBuf) {
    match UnixStream::connect(&socket).await {
        // Keys and small changes are not to wait for more.
        Ok(mut screen) if viewer.set_nodelay(true).is_ok() => {
            let _ = tokio::io::copy_bidirectional(&mut viewer, &mut screen).await;
        }
        Ok(_) => {}
        Err(error) => ui.warn(format!("the machine does not run: {error}")),
    }
}
