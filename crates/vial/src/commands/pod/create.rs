//! `vial pod create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use vial_cloud::execute::{Keys, Wish};
use vial_cloud::names;
use vial_cloud::pods::{self, Scope};
use vial_cloud::words;

use super::ls::Pods;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::output::{self, Format};
use crate::pods::make::{self, How};
use crate::pods::place::{Place, PlaceArgs};
use crate::pods::wish::WishArgs;
use crate::pods::{batch, keys, means};
use crate::when;

/// The image of a cluster that does not name one of its own.
const DEFAULT_IMAGE: &str = "docker.io/library/debian:stable-slim";

/// Make pods to log in to
///
/// What is made is plain Kubernetes: a Service, which owns the rest, a Deployment of one replica and a Secret with the
/// host key. The pod comes back fresh after it was deleted or its node was lost; address and host key stay. Any image
/// will do, also one without a shell: the ssh server comes from outside, and the image's own entry point runs beside it.
///
/// The same command again finishes what was interrupted, and changes nothing else.
#[derive(Debug, Args)]
#[command(
    override_usage = "vial pod create [OPTIONS] NAME… [-- COMMAND [ARGUMENT]…]\n       vial pod create -f FILE"
)]
#[command(after_help = "\
Examples:
  vial pod create dp-test01 --image debian       and then: ssh dp-test01
  vial pod create dp-test[01-10] --user ann --cpu 500m
  vial pod create web --image nginx --port 80 --load-balancer
  vial pod create net --privileged --host-network --on w-1
  vial pod create db --image postgres:17 --env POSTGRES_PASSWORD=x --volume data:10Gi:/var/lib/postgresql --ttl 2h
  vial pod create job -- sh -c 'make; sleep infinity'
  vial pod create a b c --context prod -n team   on any other cluster
  vial pod create web --port 80 --dry-run -o yaml | kubectl diff -f -
  vial pod create -f pods.yaml                   a batch: makes, changes and removes what the file says")]
pub(super) struct CreateArgs {
    /// Names; dp-test[01-10] are ten
    #[arg(value_name = "NAME", required_unless_present = "file")]
    names: Vec<String>,
    /// A batch of pods; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "names")]
    file: Option<PathBuf>,
    /// So many of each name: web-1, web-2, …
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    count: Option<usize>,
    /// What to run instead of the image's own entry point
    #[arg(value_name = "COMMAND", last = true, conflicts_with = "command")]
    arguments: Vec<String>,
    #[command(flatten)]
    wish: WishArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// How it is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
struct HowArgs {
    /// Change pods that are there and were asked for otherwise
    #[arg(long)]
    replace: bool,
    /// Whence the ssh server comes: auto, api (ConfigMaps and the image's own shell), or an image [env: VIAL_SSHD_IMAGE]
    #[arg(long, value_name = "WAY", default_value_t = default_way(), hide_default_value = true)]
    sshd: String,
    /// Print what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// With -f: remove without asking what the file does not name any more
    #[arg(short, long)]
    yes: bool,
    /// Keep what cannot start, to look at it
    #[arg(long)]
    keep: bool,
    /// Do not wait until one can log in
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = when::parse_span)]
    timeout: Duration,
    /// Print the pods, once they are made: table, wide, json, yaml or name
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    output: Option<Format>,
}

fn default_way() -> String {
    let image = std::env::var("VIAL_SSHD_IMAGE").ok();
    image
        .filter(|image| !image.is_empty())
        .unwrap_or_else(|| "auto".into())
}

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result {
    if let Some(file) = &args.file {
        let read = batch::read(file)?;
        let place = read.place(&args.place).find(context).await?;
        return many(context, place, args.how, read).await;
    }
    let names = names::expand(&args.names, args.count)?;
    let options = args.wish.options(args.arguments)?;
    let wishes = names.into_iter().map(|name| Wish {
        name,
        options: options.clone(),
        batch: None,
    });
    let wishes: Vec<Wish> = wishes.collect();
    let place = args.place.find(context).await?;
    apply(context, &place, wishes, &args.how).await
}

/// A batch: what the file names is made, what came with it before and is not named any more goes.
async fn many(context: &Context, place: Place, how: HowArgs, read: batch::Batch) -> Result {
    let scope = Scope::Namespace(place.namespace.clone());
    let there = pods::list(&place.cloud, &scope).await?;
    let preview = read.preview(&there);
    for line in preview.lines() {
        context.ui.status(line);
    }
    let surplus = preview.removed.clone();
    if how.dry_run {
        return apply(context, &place, read.wishes, &how).await;
    }
    if !surplus.is_empty() && !how.yes && !batch::agreed(context, &surplus)? {
        return Err(Error::new(Code::Interrupted, "nothing was changed"));
    }
    let wishes = read.wishes;
    let exit = match wishes.is_empty() {
        true => Exit::OK,
        false => {
            let how = HowArgs {
                replace: true,
                ..how
            };
            apply(context, &place, wishes, &how).await?
        }
    };
    super::rm::remove_all(context, &place, &surplus, false).await?;
    Ok(exit)
}

/// Objects as documents of YAML, or as one List of JSON: both are what `kubectl apply -f -` reads.
fn planned(objects: &[Value], format: Option<Format>) -> Result<String> {
    match format {
        None | Some(Format::Yaml) => {
            let documents = objects
                .iter()
                .map(|object| Ok(format!("---\n{}", output::yaml(object)?)));
            documents.collect()
        }
        Some(Format::Json) => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            Ok(format!("{list:#}\n"))
        }
        Some(_) => Err(Error::new(
            Code::BadInput,
            "--dry-run prints objects: -o yaml or -o json",
        )),
    }
}

async fn apply(context: &Context, place: &Place, mut wishes: Vec<Wish>, how: &HowArgs) -> Result {
    let facts = means::facts(place).await?;
    for wish in &mut wishes {
        let image = wish
            .options
            .image
            .take()
            .or_else(|| facts.default_image.clone());
        wish.options.image = Some(image.unwrap_or_else(|| DEFAULT_IMAGE.into()));
    }
    let means = means::choose(&how.sshd, &facts);
    let mut lines = keys::of_person();
    lines.push(crate::ssh::pods::own_key(context)?);
    let keys = Keys {
        authorized_keys: lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    if how.dry_run {
        let objects = make::plan(place, wishes, &means, &keys).await?;
        context.ui.data(planned(&objects, how.output)?)?;
        return Ok(Exit::OK);
    }
    let names: Vec<String> = wishes.iter().map(|wish| wish.name.clone()).collect();
    let how_made = How {
        replace: how.replace,
        keep: how.keep,
        wait: (!how.no_wait).then_some(how.timeout),
        create_namespace: place.namespace == words::NAMESPACE || place.cluster.is_some(),
    };
    let made = make::make(context, place, wishes, means, &keys, how_made).await;
    super::refresh(context, place).await;
    let made = made?;
    if let Some(format) = how.output {
        let scope = Scope::Namespace(place.namespace.clone());
        let mut there = pods::list(&place.cloud, &scope).await?;
        there.retain(|pod| names.contains(&pod.name));
        output::print(&context.ui, format, &Pods(there))?;
    } else if let [one] = made.as_slice() {
        context.ui.status(format!("  ssh {one}"));
    }
    if !made.is_empty() {
        crate::ssh::pods::offer(context)?;
    }
    Ok(Exit::OK)
}
