//! `vial console NODE`.

use std::io::{self, Read as _};

use clap::Args;
use tokio::sync::mpsc;
use vial_qemu::console::{self, ConsoleError, End, Places};

use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::machine;
use crate::node_name::NodeName;
use crate::terminal::{self, Raw};

/// Sit at the serial console of a node that is a virtual machine
///
/// First what it said last, then what it says; what is typed goes to it. Ctrl-] leaves. Nothing of the node need work for
/// that: the kernel's messages are there from the first one on. Without a terminal, standard input is passed on and the
/// console is shown until the machine ends, or until a signal.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial console w-1                          leave with ctrl-]
  vial console w-1 --tail 1000 </dev/null   follow what it says, type nothing
  vial console w-1.dev.vial                 of another cluster
A node that is a container has no console: `vial logs --node NODE`, `vial ssh NODE`.")]
pub(crate) struct ConsoleArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// The node: w-1, …
    node: String,
    /// How many of the last lines to show first
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    tail: usize,
}

pub(crate) async fn run(context: &Context, args: ConsoleArgs) -> Result {
    context.require_owner("sit at a console")?;
    let name = NodeName::parse(&args.node, &args.cluster.cluster);
    name.find(context)?;
    let places = Places::below(&machine::directory(context, &name)?);

    let (keys, typed) = mpsc::channel(1);
    let terminal = terminal::both_ends();
    if terminal {
        let what = format!("at the console of {}; ctrl-] leaves", name.node);
        context.ui.status(what);
    }
    let raw = terminal.then(Raw::enter).transpose();
    let raw =
        raw.map_err(|error| Error::caused("cannot switch the terminal to raw mode", error))?;
    pass_keys(keys, terminal);
    let show = |bytes: &[u8]| context.ui.data(bytes).map_err(io::Error::other);
    let ended = console::attach(&places, args.tail, typed, show).await;
    // Before anything is printed, the terminal is as it was.
    drop(raw);
    match ended {
        Ok(End::Detached) => {
            context.ui.status("\nleft the console");
            Ok(Exit::OK)
        }
        Ok(End::Closed) => {
            context
                .ui
                .status(format!("\nthe machine of {} has ended", name.node));
            Ok(Exit::OK)
        }
        Err(error @ ConsoleError::Connect { .. }) => {
            // What it said before may be the reason.
            if let Ok(said) = console::last_lines(&places.log, args.tail) {
                context.ui.data(&said)?;
            }
            let what = format!("the machine of {} does not run", name.node);
            Err(Error::caused(what, error).with_code(Code::Failed))
        }
        Err(error @ ConsoleError::Taken) => Err(Error::new(Code::Failed, error.to_string())
            .hint(format!("without typing: tail -f {}", places.log.display()))),
        Err(error) => {
            let what = format!("cannot show the console of {}", name.node);
            Err(Error::caused(what, error).with_code(Code::Failed))
        }
    }
}

/// Reads standard input on a thread of its own: a read of a terminal cannot be taken back, so nobody waits for it.
fn pass_keys(keys: mpsc::Sender<Vec<u8>>, terminal: bool) {
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0; 4096];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    // The key is one for people; a file may have it in it.
                    let some = buffer[..length].iter().copied();
                    let some = some.filter(|key| terminal || *key != console::DETACH);
                    let some: Vec<u8> = some.collect();
                    if !some.is_empty() && keys.blocking_send(some).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}
