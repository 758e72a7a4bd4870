//! `vial pod cp`: the person's own scp, with all that it needs to find the pod.

use std::os::unix::process::CommandExt as _;

use clap::Args;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::pods::choice;
use crate::pods::place::PlaceArgs;

/// Copy files between pods and this machine
///
/// Your own scp does it (with sftp inside, which needs nothing of the image): directories as a whole, times and modes
/// kept. One of the two is NAME:PATH.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod cp ./site web:/srv/
  vial pod cp web:/var/log/app.log .
  vial pod cp a.conf 'db:/etc/my app/'")]
pub(super) struct CpArgs {
    /// What to copy
    #[arg(value_name = "SOURCE", required = true, num_args = 2..)]
    paths: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: CpArgs) -> Result {
    let place = args.place.find(context).await?;
    let mut words = Vec::new();
    let mut any = false;
    for path in &args.paths {
        let Some((name, rest)) = remote(path) else {
            // A name with a colon is a file of this machine only with a slash before it.
            let local = match path.contains(':') && !path.starts_with(['/', '.']) {
                true => format!("./{path}"),
                false => path.clone(),
            };
            words.push(local);
            continue;
        };
        any = true;
        let (user, name) = match name.split_once('@') {
            Some((user, name)) => (format!("{user}@"), name),
            None => (String::new(), name),
        };
        let view = choice::one(&place, name).await?;
        words.push(format!("{user}{}:{rest}", super::host_name(&place, &view)));
    }
    if !any {
        let error = Error::new(Code::BadInput, "neither is a pod's");
        return Err(error.hint("write the pod's as NAME:PATH"));
    }
    let config = super::ssh_config(context, &place).await?;
    let error = std::process::Command::new("scp")
        .arg("-F")
        .arg(config)
        .args(["-r", "-p"])
        .args(match context.ui.is_quiet() {
            true => &["-q"][..],
            false => &[],
        })
        .arg("--")
        .args(words)
        .exec();
    Err(Error::caused("cannot run scp", error).hint("install OpenSSH's client"))
}

/// `NAME:PATH`: the name and the path, unless a slash comes first.
fn remote(path: &str) -> Option<(&str, &str)> {
    let (name, rest) = path.split_once(':')?;
    let plain = !name.is_empty() && !name.contains(['/', '.']);
    plain.then_some((name, rest))
}
