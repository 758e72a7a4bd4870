//! `vial cp SOURCE… DESTINATION`.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use vial_archive::{Kind, Owner, Root, Summary, Trust};

use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::copy::{self, Address, Destination, End, Source, Target, Way, Writing};
use crate::error::{Code, Error, Exit, Result};
use crate::kubeconfig::Environment;

/// Copy files between nodes and this machine
///
/// A file of a node is written NODE:PATH; relative paths begin at the node's root directory. Directories are copied with
/// all that is in them. Mode, time of change, owner (by number), links, extended attributes and holes are kept.
///
/// Where it goes is decided as by `docker cp`: into a directory that is there, else under the new name; `DIR/.` copies
/// what is in DIR. A file appears whole or not at all, so an interrupted copy may simply be run again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial cp app.conf w-1:/etc/app/                 into a directory
  vial cp w-1:/var/log .                         out, as ./log
  vial cp site/. w-1:/srv/www                    what is in site
  vial cp a b c w-1:/tmp                         several
  vial cp w-1:/etc/hosts w-2:/tmp/hosts-of-w-1   between nodes
  tar c . | vial cp - w-1:/srv                   an archive from standard input
  vial cp w-1:/etc - | tar t                     one to standard output")]
pub(crate) struct CpArgs {
    /// What to copy, and at the end where to: PATH, NODE:PATH, or - for an archive
    #[arg(value_name = "PATH", required = true, num_args = 2.., value_hint = ValueHint::AnyPath)]
    paths: Vec<OsString>,
    /// Of a source that is a symbolic link, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not keep owners: on nodes root, here whoever runs vial (or called sudo)
    #[arg(long)]
    no_owner: bool,
    /// Keep devices, set-user-ID bits and capabilities of files that come from a node, which are left out otherwise
    #[arg(long)]
    trust: bool,
    #[command(flatten)]
    cluster: ClusterFlag,
}

/// All that has to be known before the first byte is copied.
struct Job {
    from: End,
    source: PathBuf,
    target: Target,
    /// How its errors begin.
    what: String,
}

pub(crate) async fn run(context: &Context, args: CpArgs) -> Result {
    context.require_owner("copy files of nodes")?;
    let mut addresses = args
        .paths
        .iter()
        .map(|path| Address::parse(path, &args.cluster.cluster))
        .collect::<Result<Vec<_>>>()?;
    let Some(destination) = addresses.pop() else {
        return Err(Error::new(Code::BadInput, "no destination"));
    };
    check(&addresses, &destination)?;
    let summary = match (addresses.as_slice(), destination) {
        ([Address::Stream], Address::Node(node, path)) => {
            let to = End::node(context, node).await?;
            let what = format!("cannot unpack standard input to {}", to.shown(&path));
            let seen = to.look(&path, Way::Followed).await?;
            if seen.kind != Kind::Directory {
                return Err(Error::new(
                    Code::NotFound,
                    format!("{what}: there is no such directory"),
                ));
            }
            copy::from_stdin(&to, &seen.real, writing(&args, &to), &what).await?
        }
        ([Address::Node(node, path)], Address::Stream) => {
            let from = End::node(context, node.clone()).await?;
            let what = format!("cannot copy {}", from.shown(path));
            let source = look(&args, &from, path).await?;
            let name = source.path.file_name().or(source.seen.real.file_name());
            let root = name.map_or(Root::Contents, |name| Root::Named(name.into()));
            copy::to_stdout(&context.ui, &from, &source.seen.real, &root, &what).await?
        }
        (sources, destination) => several(context, &args, sources, destination).await?,
    };
    for note in &summary.notes {
        context.ui.warn(note);
    }
    if summary.more_notes > 0 {
        context.ui.warn(format!("and {} more", summary.more_notes));
    }
    Ok(Exit::OK)
}

/// What can be refused without looking at anything.
fn check(sources: &[Address], destination: &Address) -> Result<()> {
    let bad = |what: &str| Err(Error::new(Code::BadInput, what.to_owned()));
    let on_host = |address: &Address| matches!(address, Address::Host(_));
    let streams = sources
        .iter()
        .filter(|one| **one == Address::Stream)
        .count();
    if sources.len() > 1 && (streams > 0 || *destination == Address::Stream) {
        return bad("`-` stands alone: one archive from standard input, or one to standard output");
    }
    if streams == 1 && !matches!(destination, Address::Node(..)) {
        return bad("an archive from standard input goes to a node: write NODE:DIRECTORY");
    }
    if *destination == Address::Stream && !matches!(sources, [Address::Node(..)]) {
        return bad("an archive to standard output comes from a node: write NODE:PATH");
    }
    if on_host(destination) && sources.iter().any(on_host) {
        return bad("source and destination are both on this machine").map_err(|error: Error| {
            error.hint("files of a node are written NODE:PATH, like w-1:/etc/hosts")
        });
    }
    if streams == 1 && std::io::stdin().is_terminal() {
        return bad("no archive is read from a terminal: pipe one in");
    }
    if *destination == Address::Stream && std::io::stdout().is_terminal() {
        return bad("no archive is written to a terminal: redirect standard output");
    }
    Ok(())
}

/// Copies every source, after all of them were looked at: a typing error copies nothing.
async fn several(
    context: &Context,
    args: &CpArgs,
    sources: &[Address],
    destination: Address,
) -> Result<Summary> {
    let (to, path) = end(context, destination).await?;
    let seen = to.look(&path, Way::Followed).await?;
    if sources.len() > 1 && seen.kind != Kind::Directory {
        let what = format!("{} is no directory", to.shown(&path));
        return Err(Error::new(Code::BadInput, what).hint("several sources need one"));
    }
    let destination = Destination { path, seen };
    let mut jobs = Vec::new();
    for address in sources {
        let (from, path) = end(context, address.clone()).await?;
        let source = look(args, &from, &path).await?;
        jobs.push(plan(from, source, &to, &destination)?);
    }
    let mut all = Summary::default();
    for job in jobs {
        let writing = writing(args, &to);
        let one = copy::copy(&job.from, &job.source, &to, &job.target, writing, &job.what).await?;
        all.entries += one.entries;
        all.bytes += one.bytes;
        all.notes.extend(one.notes);
        all.more_notes += one.more_notes;
    }
    let plural = if all.entries == 1 { "y" } else { "ies" };
    context.ui.status(format!(
        "copied {} entr{plural}, {} to {}",
        all.entries,
        super::node_image::size(all.bytes),
        to.shown(&destination.path)
    ));
    Ok(all)
}

/// Decides where a source goes.
fn plan(from: End, source: Source, to: &End, destination: &Destination) -> Result<Job> {
    let what = format!(
        "cannot copy {} to {}",
        from.shown(&source.path),
        to.shown(&destination.path)
    );
    let target = source
        .target(destination)
        .map_err(|why| Error::new(Code::BadInput, format!("{what}: {why}")))?;
    let real = source.seen.real;
    if from.is(to) && (target.path() == real || target.directory.starts_with(&real)) {
        return Err(Error::new(
            Code::BadInput,
            format!("{what}: that is a copy into itself"),
        ));
    }
    Ok(Job {
        from,
        source: real,
        target,
        what,
    })
}

async fn end(context: &Context, address: Address) -> Result<(End, PathBuf)> {
    match address {
        Address::Host(path) => Ok((End::Host, path)),
        Address::Node(node, path) => Ok((End::node(context, node).await?, path)),
        Address::Stream => Err(Error::new(Code::BadInput, "`-` stands alone")),
    }
}

/// Looks at a source, which has to be there.
async fn look(args: &CpArgs, from: &End, path: &Path) -> Result<Source> {
    let way = if args.follow_link {
        Way::Followed
    } else {
        Way::Itself
    };
    let seen = from.look(path, way).await?;
    let missing = match seen.kind {
        Kind::Missing => "it is not there",
        Kind::Link if args.follow_link => "it is a link to nothing",
        _ => {
            return Ok(Source {
                path: path.into(),
                seen,
            });
        }
    };
    let what = format!("cannot copy {}: {missing}", from.shown(path));
    Err(Error::new(Code::NotFound, what))
}

fn writing(args: &CpArgs, to: &End) -> Writing {
    let owner = match (args.no_owner, to) {
        (false, _) => Owner::Keep,
        (true, End::Node(..)) => Owner::Be(0, 0),
        (true, End::Host) => {
            let (uid, gid) = Environment::of_process().person();
            Owner::Be(uid, gid)
        }
    };
    let trust = if args.trust {
        Trust::Whole
    } else {
        Trust::Plain
    };
    Writing { owner, trust }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(paths: &[&str]) -> Result<()> {
        let mut addresses: Vec<_> = paths
            .iter()
            .map(|path| Address::parse(path.as_ref(), "dev").unwrap())
            .collect();
        let destination = addresses.pop().unwrap();
        check(&addresses, &destination)
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_asked() {
        for paths in [
            &["a", "b"][..],
            &["-", "b"],
            &["a", "-"],
            &["-", "-"],
            &["-", "w-1:/a", "w-2:/b"],
            &["w-1:/a", "w-2:/b", "-"],
            &["w-1:/a", "b", "c"],
        ] {
            assert_eq!(checked(paths).unwrap_err().exit_code(), 2, "{paths:?}");
        }
        checked(&["a", "w-1:/b", "w-2:/c"]).unwrap();
        checked(&["w-1:/a", "b"]).unwrap();
    }
}
