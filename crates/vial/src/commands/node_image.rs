//! `vial node-image build|load|save|ls|inspect|rm`.

mod transfer;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use vial_engine::record::{self, Record};
use vial_image::{BuildOptions, Digest, ImageSummary, NodeImage, Source, Store};
use vial_spec::defaults;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::image;
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Style, Table, Ui};
use crate::when;

/// Build and look at node images
///
/// A node image is everything a node needs: Debian, Kubernetes, container images. It is built once; clusters mount it
/// and need no network afterwards.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct NodeImageArgs {
    #[command(subcommand)]
    command: NodeImageCommand,
}

#[derive(Debug, Subcommand)]
enum NodeImageCommand {
    /// Build a node image
    Build(BuildArgs),
    /// Bring node images from an archive or from another directory of images
    Load(transfer::LoadArgs),
    /// Write node images to a file, for another machine or another person
    Save(transfer::SaveArgs),
    /// List the node images
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show what is in a node image
    Inspect(InspectArgs),
    /// Remove node images, and what only they need
    Rm(RemoveArgs),
}

/// Build a node image
///
/// Parts that did not change come from the cache, so building again after a change takes seconds; a build that was
/// interrupted goes on where it was. The same inputs give the same digest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node-image build                                          the default version
  vial node-image build --kubernetes 1.35 -t mine/node:old
  vial node-image build --k8s-bin ~/kubernetes/_output/bin       your own build of Kubernetes")]
struct BuildArgs {
    /// The version of Kubernetes
    #[arg(long, value_name = "VERSION", default_value = defaults::KUBERNETES)]
    kubernetes: String,
    /// Where Kubernetes binaries come from
    #[arg(long, value_enum, default_value = "auto")]
    source: SourceArg,
    /// Your own build: a directory with kubelet and the others, or a checkout with _output/
    #[arg(long, value_name = "DIR")]
    k8s_bin: Option<PathBuf>,
    /// Where release files are, in the layout of the upstream site [default: https://dl.k8s.io]
    #[arg(long, value_name = "URL")]
    release_url: Option<String>,
    /// Debian suite
    #[arg(long, default_value = "trixie")]
    suite: String,
    /// Debian archive [default: the official one]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Keys that the archive is signed with [default: Debian's own]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Accept an archive whose Release file is out of date
    #[arg(long)]
    allow_expired: bool,
    /// Its name [default: vial/node:VERSION]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Leave out QEMU and the guest kernel: no node can be a virtual machine then
    #[arg(long)]
    no_vm: bool,
    /// Ask the Debian archive for newer packages
    #[arg(long)]
    refresh: bool,
    /// Write when which step ran to this file, as a Chrome trace (for ui.perfetto.dev)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceArg {
    /// --k8s-bin when given, else release files when the site answers, else Go modules.
    Auto,
    /// --k8s-bin.
    Dir,
    /// Upstream release files, checksums verified.
    Release,
    /// Go modules, built with this machine's go.
    Go,
}

/// List the node images
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Show what is in a node image
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial node-image inspect\n  vial node-image inspect vial/node:v1.36.3 --sbom > sbom.spdx.json"
)]
struct InspectArgs {
    /// The image, as NAME:TAG or sha256:…
    #[arg(value_name = "IMAGE", default_value_t = default_image())]
    image: String,
    /// Print its bill of materials: SPDX 2.3, JSON
    #[arg(long)]
    sbom: bool,
    /// Read every blob and every unpacked file, and compare them with their digests
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Remove node images, and what only they need
#[derive(Debug, Args)]
struct RemoveArgs {
    /// The images, as NAME:TAG or sha256:…
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// The image of a cluster of which nothing was asked.
pub(crate) fn default_image() -> String {
    format!(
        "{}:{}",
        defaults::NODE_IMAGE_REPOSITORY,
        defaults::KUBERNETES
    )
}

pub(crate) async fn run(context: &Context, args: NodeImageArgs) -> Result {
    match args.command {
        NodeImageCommand::Build(args) => build(context, args).await,
        NodeImageCommand::Load(args) => transfer::load(context, args).await,
        NodeImageCommand::Save(args) => transfer::save(context, args).await,
        NodeImageCommand::Ls(args) => {
            let images = Images(open(context)?.list()?);
            output::print(&context.ui, args.output.output, &images)?;
            Ok(Exit::OK)
        }
        NodeImageCommand::Inspect(args) => inspect(context, &args),
        NodeImageCommand::Rm(args) => remove(context, &args),
    }
}

fn open(context: &Context) -> Result<Store> {
    Ok(Store::open(&context.paths.home)?)
}

async fn build(context: &Context, args: BuildArgs) -> Result {
    let options = options(&args)?;
    context
        .require_root("build a node image")
        .map_err(|error| {
            error.hint("`vial node-image load` brings one that is built, which everybody can")
        })?;
    let store = open(context)?;
    let mut progress = context.ui.progress().tracing(args.trace.is_some());
    let image = image::build(&store, &options, &mut progress).await;
    if let Some(path) = &args.trace {
        progress.write_trace(path)?;
    }
    drop(progress);
    let image = image?;
    let ui = &context.ui;
    ui.status(format!(
        "{} node image {} ({})",
        ui.paint_err(Style::Good, "✓"),
        image.reference,
        size(image.size)
    ));
    ui.data(format!("{}\n", image.digest))?;
    sweep(context, &store);
    Ok(Exit::OK)
}

/// Removes images that lost their name to the new one. The image is built all the same when that fails.
fn sweep(context: &Context, store: &Store) {
    let swept = in_use(context).and_then(|in_use| Ok(store.sweep(&in_use)?));
    match swept {
        Ok(swept) if swept.bytes == 0 => {}
        Ok(swept) => context.ui.status(format!(
            "{} freed: nothing needs it any more",
            size(swept.bytes)
        )),
        Err(error) => context.ui.warn(format!(
            "older images stay: {}",
            error.line().unwrap_or_default()
        )),
    }
}

fn options(args: &BuildArgs) -> Result<BuildOptions> {
    let bad = |message: &str| Err(Error::new(Code::BadInput, message));
    let source = match args.source {
        SourceArg::Auto => Source::Auto,
        SourceArg::Dir => Source::Dir,
        SourceArg::Release => Source::Release,
        SourceArg::Go => Source::Go,
    };
    match source {
        Source::Dir if args.k8s_bin.is_none() => return bad("--source dir needs --k8s-bin DIR"),
        Source::Release | Source::Go if args.k8s_bin.is_some() => {
            return bad("--k8s-bin goes with --source dir or --source auto only");
        }
        _ => {}
    }
    if let Some(directory) = &args.k8s_bin
        && !directory.is_dir()
    {
        return bad(&format!(
            "--k8s-bin {} is not a directory",
            directory.display()
        ));
    }
    Ok(BuildOptions {
        kubernetes: args.kubernetes.clone(),
        source,
        k8s_bin: args.k8s_bin.clone(),
        release_url: args.release_url.clone(),
        suite: args.suite.clone(),
        mirror: args.mirror.clone(),
        keyring: args.keyring.clone(),
        allow_expired: args.allow_expired,
        tag: args.tag.clone(),
        vm: !args.no_vm,
        refresh: args.refresh,
    })
}

fn inspect(context: &Context, args: &InspectArgs) -> Result {
    let store = open(context)?;
    let image = store.find(&args.image)?;
    if args.verify {
        store.verify(&args.image)?;
        context.ui.status(format!(
            "every blob of {} is what its digest says, and every unpacked layer what its blob says",
            image.reference
        ));
    }
    if args.sbom {
        context.ui.data(output::json(&image.sbom()?)?)?;
        return Ok(Exit::OK);
    }
    output::print(&context.ui, args.output.output, &image)?;
    Ok(Exit::OK)
}

fn remove(context: &Context, args: &RemoveArgs) -> Result {
    let store = open(context)?;
    let swept = store.remove(&args.images, &in_use(context)?)?;
    context.ui.status(format!(
        "removed {}: {} freed",
        args.images.join(", "),
        size(swept.bytes)
    ));
    Ok(Exit::OK)
}

/// Digests of the images that clusters stand on.
fn in_use(context: &Context) -> Result<Vec<Digest>> {
    let failed = |error| Error::caused("cannot tell which node images are in use", error);
    let mut digests = Vec::new();
    for name in record::names(&context.paths).map_err(failed)? {
        if let Some(record) = Record::load(&context.paths, &name).map_err(failed)?
            && let Ok(digest) = record.image_digest.parse()
        {
            digests.push(digest);
        }
    }
    Ok(digests)
}

struct Images(Vec<ImageSummary>);

impl Report for Images {
    type Data = [ImageSummary];

    fn data(&self) -> &[ImageSummary] {
        &self.0
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let mut table = Table::new(["IMAGE", "KUBERNETES", "DIGEST", "SIZE", "AGE"]);
        let now = when::now();
        for image in &self.0 {
            let digest = image.digest.to_string();
            let shown = if wide {
                digest.as_str()
            } else {
                digest.get(..19).unwrap_or(&digest)
            };
            table.row([
                image.reference.as_str().into(),
                image.kubernetes.as_str().into(),
                shown.into(),
                size(image.size).into(),
                when::age(&image.created, now).into(),
            ]);
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|image| image.reference.clone()).collect()
    }
}

impl Report for NodeImage {
    type Data = Self;

    fn data(&self) -> &Self {
        self
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let color = ui.color_out();
        let mut head = Table::new(["IMAGE", "KUBERNETES", "DEBIAN", "SIZE", "CREATED", "DIGEST"]);
        head.row([
            self.reference.as_str().into(),
            self.kubernetes.as_str().into(),
            self.suite.as_str().into(),
            size(self.size).into(),
            self.created.as_str().into(),
            self.digest.to_string().into(),
        ]);
        let mut components = Table::new(["COMPONENT", "VERSION", "SOURCE", "SHA256"]);
        for component in &self.components {
            let sha256 = if wide {
                component.sha256.as_str()
            } else {
                component.sha256.get(..12).unwrap_or_default()
            };
            components.row([
                component.name.as_str().into(),
                component.version.as_str().into(),
                component.source.as_str().into(),
                sha256.into(),
            ]);
        }
        let mut layers = Table::new(["LAYER", "SIZE", "DIGEST"]);
        for layer in &self.layers {
            let digest = layer.digest.to_string();
            let shown = if wide {
                digest.as_str()
            } else {
                digest.get(..19).unwrap_or(&digest)
            };
            layers.row([
                layer.title.as_str().into(),
                size(layer.size).into(),
                shown.into(),
            ]);
        }
        format!(
            "{}\n{}\n{}",
            head.render(color),
            components.render(color),
            layers.render(color)
        )
    }

    fn names(&self) -> Vec<String> {
        self.components
            .iter()
            .map(|component| component.name.clone())
            .collect()
    }
}

/// `812 MB`, `1.4 GB`: powers of ten, as disks are sold.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!(
            "{}.{} GB",
            bytes / 1_000_000_000,
            bytes % 1_000_000_000 / 100_000_000
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<BuildOptions> {
        let cli =
            Cli::try_parse_from(std::iter::once("vial").chain(line.split_whitespace())).unwrap();
        let Command::NodeImage(NodeImageArgs {
            command: NodeImageCommand::Build(args),
        }) = cli.command
        else {
            panic!()
        };
        options(&args)
    }

    #[test]
    fn without_flags_a_build_is_the_default_one() {
        let options = parse("node-image build").unwrap();
        assert_eq!(json!(options), json!(BuildOptions::default()));
    }

    #[test]
    fn sources_that_contradict_their_directory_are_refused() {
        for line in [
            "--source dir",
            "--source go --k8s-bin /",
            "--source release --k8s-bin /",
            "--k8s-bin /nonexistent",
        ] {
            let error = parse(&format!("node-image build {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert_eq!(
            parse("node-image build --k8s-bin /").unwrap().k8s_bin,
            Some(PathBuf::from("/"))
        );
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [999, 12_345, 812_999_999, 1_450_000_000].map(size),
            ["999 B", "12 kB", "812 MB", "1.4 GB"]
        );
    }
}
