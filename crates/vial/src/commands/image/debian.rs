//! `vial image debian`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum as _, ValueHint};
use vial_image::debian_image::{self, Built, DebianImage};
use vial_image::load::{ImageName, Source};

use super::bring::{Destination, Reading, To};
use crate::cli::assignment;
use crate::commands::node_image::size;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::image;
use crate::output::{Format, OutputArgs};
use crate::ui::Style;

/// Make a base image of Debian packages, without any registry
///
/// The image is a small Debian: bash, apt, accounts, CA certificates, and the packages that are asked for with what they
/// depend on. They come from the Debian archive, by its signed lists, or from the cache: what was fetched once is not fetched
/// again, and for a week the same packages are chosen without asking the archive at all. The same packages give the same
/// digest. It is loaded into the cluster, or written to a file.
///
/// Inside, apt knows where the packages came from, dpkg has all of them in its database, services do not start by
/// themselves, and the locale is C.UTF-8. As a pod it runs bash, which waits where the pod has `stdin: true`; with --init
/// it waits for ever.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial image debian                                            debian:stable-slim
  vial image debian box:v1 --packages sudo,curl,iproute2 --init
  vial image debian web:v1 --packages nginx -- nginx -g 'daemon off;'
  vial image debian old:v1 --suite bookworm -o old.tar         an OCI archive; no cluster is needed")]
pub(super) struct DebianArgs {
    /// What the image shall be called
    #[arg(value_name = "NAME:TAG", default_value = "debian:stable-slim")]
    name: String,
    /// Packages beside the base, as in a Depends field
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    packages: Vec<String>,
    /// Debian suite
    #[arg(long, default_value = "trixie")]
    suite: String,
    /// Debian archive [default: the official one, with its updates]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Keys that the archive is signed with [default: Debian's own]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    keyring: Option<PathBuf>,
    /// Accept an archive whose Release file is out of date
    #[arg(long)]
    allow_expired: bool,
    /// Ask the archive for newer packages
    #[arg(long)]
    refresh: bool,
    /// Begin with a small init (tini), which takes in orphans; without a command the container then waits for ever
    #[arg(long)]
    init: bool,
    /// Program that the image begins with; several words as a JSON list
    #[arg(long, value_name = "PROGRAM|JSON", value_parser = words)]
    entrypoint: Option<Words>,
    /// A variable of its environment; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<String>,
    /// Who runs it [default: root]
    #[arg(
        long,
        value_name = "USER[:GROUP]",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// Where it starts [default: /]
    #[arg(
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,
    #[command(flatten)]
    to: To,
    /// Write an OCI archive to this file instead of loading it; or how to print the answer: table, wide, json, yaml, name
    #[arg(short, long, value_name = "FILE|FORMAT", default_value = "table", hide_default_value = true, value_hint = ValueHint::FilePath, value_parser = output)]
    output: Output,
    /// What it runs [default: bash]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The words of `--entrypoint`.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

/// `--output`.
#[derive(Debug, Clone)]
enum Output {
    Format(Format),
    File(PathBuf),
}

fn words(text: &str) -> Result<Words, String> {
    if !text.starts_with('[') {
        return Ok(Words(vec![text.to_owned()]));
    }
    let words = serde_json::from_str(text);
    words
        .map(Words)
        .map_err(|error| format!("not a list of strings: {error}"))
}

fn variable(text: &str) -> Result<String, String> {
    assignment(text).map(|_| text.to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap wants a parser that could fail"
)]
fn output(text: &str) -> Result<Output, String> {
    Ok(match Format::from_str(text, true) {
        Ok(format) => Output::Format(format),
        Err(_) => Output::File(text.into()),
    })
}

pub(super) async fn run(context: &Context, args: DebianArgs) -> Result {
    let name: ImageName = args.name.parse()?;
    match &args.output {
        Output::File(path) => {
            check_directory(path)?;
            write(context, &name, &args, path).await
        }
        Output::Format(format) => {
            let destination = args.to.find(context).await?;
            load(context, &name, &args, destination, *format).await
        }
    }
}

/// Before minutes are spent on an image that has no place.
fn check_directory(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    if parent.is_dir() && !path.is_dir() {
        return Ok(());
    }
    let (code, message) = if path.is_dir() {
        (
            Code::BadInput,
            format!("-o {} is a directory", path.display()),
        )
    } else {
        (
            Code::NotFound,
            format!("there is no directory {}", parent.display()),
        )
    };
    Err(Error::new(code, message)
        .hint("-o takes a file for the archive, or one of table, wide, json, yaml, name"))
}

async fn write(context: &Context, name: &ImageName, args: &DebianArgs, path: &Path) -> Result {
    let built = build(context, name, args).await?;
    built.archive(path)?;
    let ui = &context.ui;
    ui.status(format!(
        "{} image {name} in {} ({} packages, {})",
        ui.paint_err(Style::Good, "✓"),
        path.display(),
        built.packages(),
        size(built.size())
    ));
    // Whoever has the archive on standard output wants nothing else there.
    if path.is_file() {
        ui.data(format!("{}\n", built.digest()))?;
    }
    Ok(Exit::OK)
}

async fn load(
    context: &Context,
    name: &ImageName,
    args: &DebianArgs,
    destination: Destination<'_>,
    output: Format,
) -> Result {
    let built = build(context, name, args).await?;
    let reading = Reading {
        source: Source::Path(built.layout().to_path_buf()),
        title: format!("load {name}"),
    };
    destination
        .bring([reading], &[], &OutputArgs { output })
        .await
}

async fn build(context: &Context, name: &ImageName, args: &DebianArgs) -> Result<Built> {
    let image = DebianImage {
        packages: args.packages.clone(),
        suite: args.suite.clone(),
        mirror: args.mirror.clone(),
        keyring: args.keyring.clone(),
        allow_expired: args.allow_expired,
        refresh: args.refresh,
        init: args.init,
        entrypoint: args
            .entrypoint
            .as_ref()
            .map_or_else(Vec::new, |words| words.0.clone()),
        command: args.command.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
    };
    let mut progress = context.ui.progress();
    let home = &context.paths.home;
    let work =
        async |report: image::Report<'_>| debian_image::build(home, name, &image, report).await;
    image::watch(&mut progress, "the making of the image", work).await
}
