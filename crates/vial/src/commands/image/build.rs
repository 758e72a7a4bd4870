//! `vial image build`.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::{Args, ValueEnum, ValueHint};
use vial_image::load::{Engine, EngineImage, ImageName, Recipe, Source};

use super::bring::To;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::output::OutputArgs;

/// What a Dockerfile is called, where it is not said.
const FILES: [&str; 2] = ["Containerfile", "Dockerfile"];

/// Build an image from a Dockerfile with buildah, podman or docker, for pods on all nodes
///
/// One of them has to be on this machine: the first that is, in this order, or --with. It keeps the image and what it may need
/// for the next build, as always; vial takes the image from it and loads it into the cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial image build .
  vial image build ./app -t app:v1 --build-arg VERSION=1.2
  vial image build . -f deploy/Dockerfile --target small --with podman")]
pub(super) struct BuildArgs {
    /// The directory that the Dockerfile copies from
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    context: PathBuf,
    /// What the image shall be called; may be given several times [default: the directory's name]
    #[arg(short, long = "tag", value_name = "NAME:TAG")]
    tags: Vec<String>,
    /// The Dockerfile [default: Containerfile or Dockerfile in DIR]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// A value for an ARG of the Dockerfile; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// The stage to stop at
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Who shall build it [default: the first that is here]
    #[arg(long, value_enum, value_name = "PROGRAM")]
    with: Option<With>,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    output: OutputArgs,
}

/// `--with`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum With {
    Buildah,
    Podman,
    Docker,
}

pub(super) async fn run(context: &Context, args: BuildArgs) -> Result {
    let directory = directory(&args.context)?;
    let file = dockerfile(&directory, args.file.as_deref())?;
    let tags = match args.tags.as_slice() {
        [] => vec![name_of(&directory)?],
        tags => tags.to_vec(),
    };
    let names: Vec<ImageName> = tags
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<_, _>>()?;
    let engine = engine(args.with)?;
    let image = EngineImage::parse(&tags[0], Some(engine)).ok_or_else(|| {
        let message = format!("{engine} cannot call an image `{}`", tags[0]);
        Error::new(Code::BadInput, message)
    })?;
    let destination = args.to.find(context).await?;
    let recipe = Recipe {
        context: directory,
        file,
        name: tags[0].clone(),
        arguments: args.build_arg,
        target: args.target,
        quiet: context.ui.is_quiet(),
    };
    build(engine, &recipe).await?;
    let source = Source::Engine(image);
    destination
        .bring([source.into()], &names, &args.output)
        .await
}

fn directory(path: &Path) -> Result<PathBuf> {
    let message = |what: &str| format!("{what} {}", path.display());
    match path.canonicalize() {
        Ok(directory) if directory.is_dir() => Ok(directory),
        Ok(_) => Err(Error::new(Code::BadInput, message("not a directory:"))
            .hint("the Dockerfile is named with -f; DIR is what it copies from")),
        Err(_) => Err(Error::new(Code::NotFound, message("there is no directory"))),
    }
}

fn dockerfile(directory: &Path, given: Option<&Path>) -> Result<PathBuf> {
    let candidates = match given {
        Some(file) => vec![file.to_path_buf()],
        None => FILES.map(|name| directory.join(name)).to_vec(),
    };
    let found = candidates.iter().find(|path| path.is_file());
    let found = found.and_then(|path| path.canonicalize().ok());
    found.ok_or_else(|| match given {
        Some(file) => Error::new(Code::NotFound, format!("there is no `{}`", file.display())),
        None => {
            let message = format!("{} has no {}", directory.display(), FILES.join(" and no "));
            Error::new(Code::NotFound, message).hint("-f names the Dockerfile")
        }
    })
}

/// `app`, of `/home/me/App`.
fn name_of(directory: &Path) -> Result<String> {
    let name = directory.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    match name.parse::<ImageName>() {
        Ok(_) => Ok(name),
        Err(_) => {
            let message = format!("an image cannot be called as {}", directory.display());
            Err(Error::new(Code::BadInput, message).hint("-t NAME:TAG gives it a name"))
        }
    }
}

/// The first that is here.
fn engine(with: Option<With>) -> Result<Engine> {
    let asked = match with {
        None => Engine::BUILDERS.to_vec(),
        Some(With::Buildah) => vec![Engine::Buildah],
        Some(With::Podman) => vec![Engine::Podman],
        Some(With::Docker) => vec![Engine::Docker],
    };
    let mut said = Vec::new();
    for engine in &asked {
        match engine.answers() {
            Ok(()) => return Ok(*engine),
            Err(reason) => said.push(format!("{engine}: {reason}")),
        }
    }
    let message = match asked.as_slice() {
        [one] => format!("{one} cannot build here"),
        _ => "nothing here can build an image from a Dockerfile".to_owned(),
    };
    let error = Error::new(Code::NotFound, message).hint(
        "install buildah, which needs no daemon; an image that is built elsewhere comes here by `vial image load`, \
         one of Debian packages by `vial image debian`",
    );
    Err(said.into_iter().fold(error, Error::detail))
}

/// Runs the builder, which speaks for itself: on standard error, since standard output is for the answer.
async fn build(engine: Engine, recipe: &Recipe) -> Result<()> {
    let what = format!("cannot build {}", recipe.context.display());
    let failed = |error| Error::caused(format!("{what} with {engine}"), error);
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let mut command = tokio::process::Command::from(engine.build(recipe));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(stderr.map_err(failed)?))
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        () = interrupt::signal() => {
            return Err(Error::new(Code::Interrupted, "interrupted; nothing was changed in the cluster"));
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(Error::new(
        Code::Failed,
        format!("{what}: {engine} failed ({status}); what it said is above"),
    ))
}
