//! `vial screenshot NODE`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use vial_qemu::Qmp;
use vial_qemu::arguments::QMP_SOCKET;

use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::kubeconfig::Environment;
use crate::machine;
use crate::node_name::NodeName;
use crate::replace::replace;

/// Write what the screen of a virtual machine shows to a PNG file
///
/// The machine need not work for that: it is QEMU that is asked. The name of the file is printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial screenshot w-1                       w-1.png
  vial screenshot w-1 -o /tmp/panic.png
  vial screenshot w-1 -o - | display        to a program
A machine has a screen when it is made with `vial up --display`, or with `vm: {display: true}` in vial.yaml.")]
pub(crate) struct ScreenshotArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// The node: w-1, …
    node: String,
    /// Where to write it, `-` for standard output [default: NODE.png]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: ScreenshotArgs) -> Result {
    context.require_owner("see a screen")?;
    let name = NodeName::parse(&args.node, &args.cluster.cluster);
    let file = match args.output {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path),
        None => Some(format!("{}.png", name.node).into()),
    };
    check(file.as_deref())?;
    let directory = machine::with_display(context, &name)?;
    let qmp = Qmp::connect(&directory.join(QMP_SOCKET)).await;
    let qmp = qmp.map_err(|error| machine::does_not_answer(&name, error))?;
    let picture = qmp
        .screendump()
        .await
        .map_err(|error| Error::caused(format!("cannot see the screen of {}", name.node), error))?;
    let Some(path) = file else {
        context.ui.data(picture)?;
        return Ok(Exit::OK);
    };
    // Whoever called sudo is to look at it.
    let owner = Environment::of_process().sudo;
    let shown = path.display();
    replace(&path, &picture, owner)
        .map_err(|error| Error::caused(format!("cannot write {shown}"), error))?;
    if let Some((width, height)) = size(&picture) {
        let node = &name.node;
        context
            .ui
            .status(format!("the screen of {node}: {width} x {height}"));
    }
    context.ui.data(format!("{shown}\n"))?;
    Ok(Exit::OK)
}

/// Whether a picture can go there.
fn check(file: Option<&Path>) -> Result<()> {
    let bad = |what: String| Error::new(Code::BadInput, what);
    match file {
        None if std::io::stdout().is_terminal() => {
            let what = "standard output is a terminal, the picture is no text";
            Err(bad(what.to_owned()).hint("-o FILE, or a pipe behind it"))
        }
        Some(path) if path.exists() && !path.is_file() => {
            let what = format!("{} is no file", path.display());
            Err(bad(what).hint("-o - writes to standard output"))
        }
        _ => Ok(()),
    }
}

/// Width and height of a PNG file, in pixels: what its first chunk begins with (ISO/IEC 15948, 11.2.2).
fn size(picture: &[u8]) -> Option<(u32, u32)> {
    let header = picture
        .strip_prefix(b"\x89PNG\r\n\x1a\n")?
        .get(4..)?
        .strip_prefix(b"IHDR")?;
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_picture_is_read() {
        let mut picture = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\xd0\0\0\x01\x90".to_vec();
        assert_eq!(size(&picture), Some((720, 400)));
        picture.truncate(20);
        assert_eq!(size(&picture), None);
        assert_eq!(size(b"P6 720 400"), None);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        for path in [Path::new("/dev/null"), directory.path()] {
            assert_eq!(check(Some(path)).unwrap_err().exit_code(), 2);
        }
        check(Some(&directory.path().join("new.png"))).unwrap();
    }
}
