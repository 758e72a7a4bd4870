//! What can go wrong with images that are brought in.

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

impl LoadError {
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
            Self::Store(error) => return error.hint(),
            Self::Missing { .. } => return None,
        })
    }
}
