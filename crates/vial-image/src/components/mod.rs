//! Where the programs of a node come from: a directory, release files, Go modules.
//!
//! Kubernetes' own programs come from the chosen [`Source`]; everything else always comes from its Go module. Each
//! source ends in files in a cache directory and a [`Built`] for each.

mod buildinfo;
mod catalog;
mod dir;
mod go;
mod release;

use std::path::PathBuf;

pub(crate) use catalog::{Module, OTHERS, TestImages, nearest};
pub use catalog::{SUPPORTED, Supported, supported};
pub(crate) use go::Go;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::image::ComponentRecord;
use crate::options::{BuildOptions, Progress, Report, Source};

/// A program ready to be put into a layer.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The directory of `components/` that it belongs to: one layer each, but for Kubernetes.
    pub(crate) module: &'static str,
    /// The file.
    pub(crate) file: PathBuf,
    /// Directory in the node; empty when it does not go there.
    pub(crate) directory: &'static str,
    /// What it is.
    pub(crate) record: ComponentRecord,
}

/// A file that holds a program, not looked at yet.
struct Found {
    program: catalog::Program,
    file: PathBuf,
    source: String,
}

impl Built {
    fn new(module: &Module, found: Found, version: &str) -> Result<Self> {
        let Found {
            program,
            file,
            source,
        } = found;
        let (digest, _) = std::fs::File::open(&file)
            .and_then(Digest::of_reader)
            .at("read", &file)?;
        let modules = buildinfo::modules(&file)?;
        let path = (!program.directory.is_empty())
            .then(|| format!("/{}/{}", program.directory, program.name));
        Ok(Self {
            module: module.name,
            directory: program.directory,
            record: ComponentRecord {
                name: program.name.into(),
                version: version.into(),
                source,
                sha256: digest.hex().into(),
                path,
                modules,
            },
            file,
        })
    }

    /// Digests the files apart from the runtime's threads: together they are half a gigabyte.
    async fn all(module: &Module, found: Vec<Found>, version: &str) -> Result<Vec<Self>> {
        let (module, version) = (*module, version.to_owned());
        let work = move || {
            found
                .into_iter()
                .map(|found| Self::new(&module, found, &version))
                .collect()
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(Error::Cancelled))
    }
}

/// All programs of a node.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `v1.36.3`.
    pub(crate) kubernetes: String,
    /// What its e2e tests call the images that they run.
    pub(crate) test_images: TestImages,
    /// In the order of their layers.
    pub(crate) all: Vec<Built>,
}

impl Programs {
    /// A program by its name.
    pub(crate) fn get(&self, name: &str) -> Result<&Built> {
        self.all
            .iter()
            .find(|built| built.record.name == name)
            .ok_or_else(|| Error::Component {
                component: name.into(),
                origin: "the catalog".into(),
                reason: "there is no such program".into(),
            })
    }

    /// A file of Kubernetes' own source, by its path there.
    pub(crate) fn asset(&self, path: &str) -> Result<PathBuf> {
        // agnhost always comes from its Go module, and the assets with it.
        Ok(self
            .get("agnhost")?
            .file
            .with_file_name(catalog::ASSETS)
            .join(path))
    }
}

/// Builds a program of Kubernetes that no node image has, such as `kubeadm`, from its Go module, and returns the file,
/// which stays in the cache below `home`.
///
/// # Errors
/// When vial does not know the version or the program, or Go cannot build it.
pub async fn build_extra(
    home: &std::path::Path,
    kubernetes: &str,
    name: &str,
    report: &(dyn Fn(Progress) + Send + Sync),
) -> Result<PathBuf> {
    let module = &supported(kubernetes)?.module;
    let unknown = || Error::Component {
        component: name.into(),
        origin: module.name.into(),
        reason: "there is no such program".into(),
    };
    let extra = module.extras.iter().find(|extra| extra.name == name);
    let built = Go::find(home)
        .await?
        .build_extra(module, extra.ok_or_else(unknown)?, report)
        .await?;
    Ok(built.into_iter().next().ok_or_else(unknown)?.file)
}

/// The Kubernetes version that a build with these options will have; checks the options on the way.
pub(crate) async fn version(options: &BuildOptions) -> Result<String> {
    match (&options.k8s_bin, options.source) {
        (Some(directory), Source::Auto | Source::Dir) => dir::version(directory).await,
        (None, Source::Dir) => Err(Error::Component {
            component: "kubernetes".into(),
            origin: "a directory".into(),
            reason: "--source dir needs --k8s-bin DIR".into(),
        }),
        // A release site has more versions than vial has modules for.
        (_, Source::Release) => Ok(supported(&options.kubernetes).map_or_else(
            |error| {
                if release::is_version(&options.kubernetes) {
                    Ok(options.kubernetes.clone())
                } else {
                    Err(error)
                }
            },
            |known| Ok(known.version.to_owned()),
        )?),
        _ => Ok(supported(&options.kubernetes)?.version.to_owned()),
    }
}

/// Gets or builds every program.
pub(crate) async fn gather(
    options: &BuildOptions,
    home: &std::path::Path,
    report: Report<'_>,
) -> Result<Programs> {
    let version = version(options).await?;
    let near = nearest(&version);
    let go = Go::find(home).await?;
    let source = choose(options, &version, report).await;
    let mut all = match source {
        Source::Dir => {
            let directory = options
                .k8s_bin
                .as_deref()
                .unwrap_or(std::path::Path::new("."));
            dir::copy(&near.module, directory, &version, home, report).await?
        }
        Source::Release => {
            let base = options.release_url.as_deref().unwrap_or(release::UPSTREAM);
            release::fetch(&near.module, base, &version, home, report).await?
        }
        Source::Go | Source::Auto => go.build(&near.module, report).await?,
    };
    // What only goes into container images is on no release site, and rarely in a developer's build.
    if matches!(source, Source::Dir | Source::Release) {
        all.extend(go.build_for_images(&near.module, report).await?);
    }
    for module in OTHERS {
        all.extend(go.build(module, report).await?);
    }
    Ok(Programs {
        kubernetes: version,
        test_images: near.test_images,
        all,
    })
}

/// What `auto` means here and now.
async fn choose(options: &BuildOptions, version: &str, report: Report<'_>) -> Source {
    if options.source != Source::Auto {
        return options.source;
    }
    if options.k8s_bin.is_some() {
        return Source::Dir;
    }
    let base = options.release_url.as_deref().unwrap_or(release::UPSTREAM);
    if release::answers(base, version).await {
        return Source::Release;
    }
    report(Progress::Note {
        text: format!("{base} does not answer: kubernetes {version} is built from its Go module"),
    });
    Source::Go
}
