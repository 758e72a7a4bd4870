//! From the files of an archive to images: which config and layers, under which names, for which machines.
//!
//! Looked for in this order: `index.json` (an OCI layout), `manifest.json` (`docker save`), `repositories` (`docker save`
//! before 1.10). An archive that has several of them (Docker 25 and newer) takes names from `manifest.json` where the
//! index has none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::format::{
    self, Config, Descriptor, DockerImage, Index, Manifest, NewConfig, NewRootFs, OldLayer,
    Platform, Repositories,
};
use super::pieces::Pieces;
use super::{ImageName, LoadError, Result};
use crate::digest::Digest;
use crate::oci;

/// How deep an index may lie in an index.
const DEPTH: usize = 4;
/// How many layers an image may have: overlayfs takes 500, Docker 127.
const LAYERS: usize = 500;

/// An image as an archive describes it.
pub(super) struct Found {
    /// None: it has to be given one.
    pub(super) names: Vec<ImageName>,
    /// As it is in the archive; `None` where its format has none.
    pub(super) manifest: Option<Stated>,
    pub(super) config: Stated,
    /// Lowest first.
    pub(super) layers: Vec<FoundLayer>,
}

/// A small file whose content is known.
pub(super) struct Stated {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct FoundLayer {
    pub(super) path: PathBuf,
    /// What the manifest says of it: type, digest, size.
    pub(super) stated: Option<(String, Digest, u64)>,
    pub(super) diff_id: Digest,
}

impl Found {
    /// Enough of its digest for a person to know which one is meant.
    pub(super) fn short(&self) -> String {
        let stated = self.manifest.as_ref().unwrap_or(&self.config);
        Digest::of(&stated.bytes).short().to_owned()
    }

    fn called(&self) -> String {
        self.names
            .first()
            .map_or_else(|| self.short(), ToString::to_string)
    }
}

/// All images of an archive that are for the nodes.
pub(super) fn understand(pieces: &Pieces) -> Result<Vec<Found>> {
    let docker: Option<Vec<DockerImage>> = pieces.json(format::DOCKER_MANIFEST)?;
    if let Some(index) = pieces.json::<Index>(format::INDEX)? {
        let images = layout(pieces, &index, docker.as_deref().unwrap_or_default())?;
        if !images.is_empty() {
            return Ok(images);
        }
    }
    let images: Vec<Found> = match docker {
        Some(listed) => listed
            .iter()
            .map(|image| of_docker(pieces, image))
            .collect::<Result<_>>()?,
        None => match pieces.json::<Repositories>(format::DOCKER_REPOSITORIES)? {
            Some(repositories) => of_old_docker(pieces, &repositories)?,
            None => Vec::new(),
        },
    };
    if images.is_empty() {
        let parts = [
            format::INDEX,
            format::DOCKER_MANIFEST,
            format::DOCKER_REPOSITORIES,
        ];
        return Err(LoadError::NotImages {
            archive: pieces.name().to_owned(),
            reason: format!("no image is listed in {}", parts.join(", ")),
        });
    }
    let nodes = Platform::of_nodes();
    for image in &images {
        let config = config(pieces, &image.config.bytes)?;
        let platform = platform(&config);
        if !platform.fits(&nodes) {
            return Err(LoadError::Platform {
                image: image.called(),
                found: platform.to_string(),
                wanted: nodes.to_string(),
            });
        }
    }
    Ok(images)
}

/// A manifest of a layout, before it is known whether it is wanted.
struct Candidate {
    manifest: Stated,
    parsed: Manifest,
}

/// The images of an OCI layout.
fn layout(pieces: &Pieces, index: &Index, docker: &[DockerImage]) -> Result<Vec<Found>> {
    // Entries of one name are one image for several platforms; those without a name stand each for itself.
    let mut groups: BTreeMap<String, Vec<&Descriptor>> = BTreeMap::new();
    for descriptor in &index.manifests {
        let name = [format::FULL_NAME, oci::REF_NAME]
            .iter()
            .find_map(|key| ImageName::in_archive(descriptor.annotation(key)?));
        let key = name.map_or_else(|| descriptor.digest.clone(), String::from);
        groups.entry(key).or_default().push(descriptor);
    }
    let nodes = Platform::of_nodes();
    let mut images: Vec<Found> = Vec::new();
    for (key, descriptors) in groups {
        let mut candidates = Vec::new();
        for descriptor in descriptors {
            collect(pieces, descriptor, &nodes, DEPTH, &mut candidates)?;
        }
        let all: Vec<String> = candidates
            .iter()
            .map(|(platform, _)| platform.to_string())
            .collect();
        let fitting = candidates.into_iter().find_map(|(_, candidate)| candidate);
        let Some(candidate) = fitting else {
            if all.is_empty() {
                // Signatures and other things that are no image.
                continue;
            }
            return Err(LoadError::Platform {
                image: key,
                found: all.join(", "),
                wanted: nodes.to_string(),
            });
        };
        let mut names: Vec<ImageName> = ImageName::in_archive(&key)
            .filter(|_| key.parse::<Digest>().is_err())
            .into_iter()
            .collect();
        if names.is_empty() {
            let config = candidate.parsed.config.path().unwrap_or_default();
            names = docker
                .iter()
                .filter(|image| image.config == config)
                .flat_map(tags)
                .collect();
        }
        let digest = Digest::of(&candidate.manifest.bytes);
        let same = |image: &&mut Found| {
            let stated = image.manifest.as_ref();
            stated.is_some_and(|stated| Digest::of(&stated.bytes) == digest)
        };
        match images.iter_mut().find(same) {
            Some(image) => image.names.extend(names),
            None => images.push(of_layout(pieces, candidate, names)?),
        }
    }
    Ok(images)
}

/// All platforms of an entry; those that fit with their manifests. Only what fits has to be there.
fn collect(
    pieces: &Pieces,
    descriptor: &Descriptor,
    nodes: &Platform,
    depth: usize,
    into: &mut Vec<(Platform, Option<Candidate>)>,
) -> Result<()> {
    if let Some(platform) = &descriptor.platform
        && !descriptor.is_index()
        && !platform.fits(nodes)
    {
        if platform.is_known() {
            into.push((platform.clone(), None));
        }
        return Ok(());
    }
    let bytes = stated(pieces, descriptor, "manifest")?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(pieces, descriptor, &error))?;
    if descriptor.is_index() || value.get("manifests").is_some() {
        let index: Index = serde_json::from_value(value)
            .map_err(|error| unreadable(pieces, descriptor, &error))?;
        if depth == 0 {
            return Err(pieces.damaged("its indexes lie too deep in each other"));
        }
        return index
            .manifests
            .iter()
            .try_for_each(|child| collect(pieces, child, nodes, depth - 1, into));
    }
    let parsed: Manifest =
        serde_json::from_value(value).map_err(|error| unreadable(pieces, descriptor, &error))?;
    let is_image = parsed.config.media_type.is_empty()
        || parsed.config.media_type == oci::CONFIG
        || parsed.config.media_type == "application/vnd.docker.container.image.v1+json";
    if !is_image {
        return Ok(());
    }
    let platform = match &descriptor.platform {
        Some(platform) => platform.clone(),
        None => {
            let bytes = stated(pieces, &parsed.config, "config")?;
            platform(&config(pieces, &bytes)?)
        }
    };
    let candidate = platform.fits(nodes).then(|| Candidate {
        manifest: Stated {
            media_type: manifest_type(&descriptor.media_type),
            bytes,
        },
        parsed,
    });
    into.push((platform, candidate));
    Ok(())
}

fn manifest_type(stated: &str) -> String {
    if stated.is_empty() {
        oci::MANIFEST
    } else {
        stated
    }
    .to_owned()
}

fn of_layout(pieces: &Pieces, candidate: Candidate, names: Vec<ImageName>) -> Result<Found> {
    let Candidate { manifest, parsed } = candidate;
    let bytes = stated(pieces, &parsed.config, "config")?;
    let diff_ids = diff_ids(pieces, &config(pieces, &bytes)?, parsed.layers.len())?;
    let layers = parsed.layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
        let digest: Digest = digest(pieces, &layer.digest)?;
        Ok(FoundLayer {
            path: format::blob_path(&digest).into(),
            stated: Some((layer.media_type.clone(), digest, layer.size)),
            diff_id,
        })
    });
    Ok(Found {
        names,
        manifest: Some(manifest),
        layers: layers.collect::<Result<_>>()?,
        config: Stated {
            media_type: if parsed.config.media_type.is_empty() {
                oci::CONFIG.to_owned()
            } else {
                parsed.config.media_type
            },
            bytes,
        },
    })
}

fn tags(image: &DockerImage) -> impl Iterator<Item = ImageName> {
    let tags = image.repo_tags.iter().flatten();
    tags.filter_map(|tag| tag.parse().ok())
}

/// An image of `docker save`.
fn of_docker(pieces: &Pieces, image: &DockerImage) -> Result<Found> {
    let Some(bytes) = pieces.small(&image.config)? else {
        return Err(pieces.damaged(format!("config `{}` is missing", image.config)));
    };
    // Docker names both by their digests: what was altered is told from what is.
    let stem = image.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    if let Ok(expected) = format!("sha256:{stem}").parse::<Digest>() {
        verify(pieces, &expected, &Digest::of(&bytes), "config")?;
    }
    let config = config(pieces, &bytes)?;
    let diff_ids = diff_ids(pieces, &config, image.layers.len())?;
    Ok(Found {
        names: tags(image).collect(),
        manifest: None,
        config: Stated {
            media_type: oci::CONFIG.to_owned(),
            bytes,
        },
        layers: image
            .layers
            .iter()
            .zip(diff_ids)
            .map(|(path, diff_id)| FoundLayer {
                path: path.trim_start_matches("./").into(),
                stated: None,
                diff_id,
            })
            .collect(),
    })
}

/// The images of an archive from before manifests: each layer names the one below it.
fn of_old_docker(pieces: &Pieces, repositories: &Repositories) -> Result<Vec<Found>> {
    let mut tops: BTreeMap<&str, Vec<ImageName>> = BTreeMap::new();
    for (repository, tags) in repositories {
        for (tag, id) in tags {
            let name = format!("{repository}:{tag}").parse()?;
            tops.entry(id).or_default().push(name);
        }
    }
    tops.into_iter()
        .map(|(top, names)| of_old_layers(pieces, top, names))
        .collect()
}

fn of_old_layers(pieces: &Pieces, top: &str, names: Vec<ImageName>) -> Result<Found> {
    let read = |id: &str| -> Result<OldLayer> {
        let found = pieces.json(format!("{id}/json"))?;
        found.ok_or_else(|| pieces.damaged(format!("layer `{id}` is missing")))
    };
    let topmost = read(top)?;
    let mut layers = Vec::new();
    let (mut id, mut parent) = (top.to_owned(), topmost.parent.clone());
    loop {
        let path = PathBuf::from(format!("{id}/layer.tar"));
        let Some((reader, _)) = pieces.reader(&path)? else {
            return Err(pieces.damaged(format!("layer `{}` is missing", path.display())));
        };
        let (diff_id, _) =
            Digest::of_reader(reader).map_err(|error| pieces.damaged(error.to_string()))?;
        layers.push(FoundLayer {
            path,
            stated: None,
            diff_id,
        });
        if layers.len() > LAYERS {
            return Err(pieces.damaged(format!("it has more than {LAYERS} layers")));
        }
        let Some(next) = parent else { break };
        parent = read(&next)?.parent;
        id = next;
    }
    layers.reverse();
    let nodes = Platform::of_nodes();
    let config = oci::to_bytes(&NewConfig {
        created: topmost.created,
        architecture: topmost.architecture.unwrap_or(nodes.architecture),
        os: topmost.os.unwrap_or(nodes.os),
        config: topmost.config,
        rootfs: NewRootFs {
            kind: "layers",
            diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        },
    });
    Ok(Found {
        names,
        manifest: None,
        config: Stated {
            media_type: oci::CONFIG.to_owned(),
            bytes: config,
        },
        layers,
    })
}

/// A small blob of a layout, its digest verified.
fn stated(pieces: &Pieces, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>> {
    let digest = digest(pieces, &descriptor.digest)?;
    let Some(bytes) = pieces.small(format::blob_path(&digest))? else {
        return Err(pieces.damaged(format!("{what} {digest} is missing")));
    };
    verify(pieces, &digest, &Digest::of(&bytes), what)?;
    Ok(bytes)
}

/// Says how what is there differs from what was said.
pub(super) fn verify(
    pieces: &Pieces,
    expected: &Digest,
    actual: &Digest,
    what: &str,
) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(pieces.damaged(format!(
        "the content of {what} {expected} has digest {actual}"
    )))
}

fn digest(pieces: &Pieces, text: &str) -> Result<Digest> {
    text.parse()
        .map_err(|error: crate::digest::ParseDigestError| pieces.damaged(error.to_string()))
}

fn unreadable(pieces: &Pieces, descriptor: &Descriptor, error: &serde_json::Error) -> LoadError {
    pieces.damaged(format!("manifest {}: {error}", descriptor.digest))
}

fn config(pieces: &Pieces, bytes: &[u8]) -> Result<Config> {
    serde_json::from_slice(bytes)
        .map_err(|error| pieces.damaged(format!("the config of an image: {error}")))
}

fn platform(config: &Config) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
    }
}

fn diff_ids(pieces: &Pieces, config: &Config, layers: usize) -> Result<Vec<Digest>> {
    let ids = &config.rootfs.diff_ids;
    if ids.len() != layers || layers > LAYERS {
        let said = ids.len();
        return Err(pieces.damaged(format!(
            "an image has {layers} layers, and its config says {said}"
        )));
    }
    ids.iter().map(|id| digest(pieces, id)).collect()
}
