//! What can go wrong with images that are brought in.

use super::Engine;

/// Shorthand.
pub type Result<T, E = LoadError> = std::result::Result<T, E>;

/// An archive, a layout or a name that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Nothing at that path.
    #[error("there is no `{path}`")]
    Missing {
        /// As given.
        path: String,
    },
    /// Neither a file nor an image that an engine of this machine has.
    #[error("{}", not_here(.reference, .asked))]
    NotHere {
        /// The image.
        reference: String,
        /// Who was asked, and what each said.
        asked: Vec<(Engine, String)>,
    },
    /// An engine began to give an image, and broke off.
    #[error("{engine} does not give image `{reference}`: {reason}")]
    Engine {
        /// Which one.
        engine: Engine,
        /// The image.
        reference: String,
        /// What it said.
        reason: String,
    },
    /// Two sources have different images of one name.
    #[error("`{first}` and `{second}` have different images `{name}`")]
    Clash {
        /// The name.
        name: String,
        /// One source.
        first: String,
        /// Another one.
        second: String,
    },
    /// Something else than an archive or a layout.
    #[error("`{archive}` holds no container image: {reason}")]
    NotImages {
        /// Which file or directory.
        archive: String,
        /// What it is instead.
        reason: String,
    },
    /// Cut short, altered or contradicting itself.
    #[error("`{archive}` is damaged: {reason}")]
    Damaged {
        /// Which file or directory.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An image without a name.
    #[error("`{archive}` does not say what image {digest} is called")]
    NoName {
        /// Which file or directory.
        archive: String,
        /// The first digits of its digest.
        digest: String,
    },
    /// One name was given for several images.
    #[error("`{archive}` holds {count} images: one name cannot be given to all of them")]
    Several {
        /// Which file or directory.
        archive: String,
        /// How many.
        count: usize,
    },
    /// Not a `NAME:TAG`.
    #[error("`{name}` is not the name of an image: {reason}")]
    BadName {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Made for other machines.
    #[error("image `{image}` is for {found}; the nodes are {wanted}")]
    Platform {
        /// Its name, or the first digits of its digest.
        image: String,
        /// `linux/arm64`, all of them.
        found: String,
        /// `linux/amd64`.
        wanted: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

fn not_here(reference: &str, asked: &[(Engine, String)]) -> String {
    match asked {
        [(engine, _)] => format!("{engine} gives no image `{reference}`"),
        _ => format!(
            "there is no file `{reference}`, and no container engine gives an image of that name"
        ),
    }
}

impl LoadError {
    /// What belongs below the message, a line each.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::NotHere { asked, .. } => asked
                .iter()
                .map(|(engine, said)| format!("{engine}: {said}"))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What to do next, when it is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotImages { .. } => {
                "an OCI archive or layout, or an archive of `docker save`, is wanted".into()
            }
            Self::Damaged { .. } => "nothing was changed; make the archive again".into(),
            Self::NoName { .. } => "-t NAME:TAG gives it a name".into(),
            Self::Several { .. } => "without -t they keep the names they have".into(),
            Self::BadName { .. } => {
                "write it as NAME:TAG, for example registry.example/team/app:v1".into()
            }
            Self::Platform { wanted, .. } => format!(
                "build it for {wanted}, for example with `docker buildx build --platform {wanted}`"
            ),
            Self::NotHere { reference, asked } => {
                let pull = match asked.as_slice() {
                    [(Engine::Containerd, _)] => format!("`ctr images pull {reference}`"),
                    [(engine, _)] => format!("`{engine} pull {reference}`"),
                    _ => "a pull by one of them".to_owned(),
                };
                format!(
                    "{pull} brings it to this machine; archives and layouts are given by their paths; `vial image debian` \
                     makes a base image without a registry"
                )
            }
            Self::Clash { .. } => {
                "load them one after the other, with -t NAME:TAG for one of them".into()
            }
            Self::Store(error) => return error.hint(),
            Self::Missing { .. } | Self::Engine { .. } => return None,
        })
    }
}
