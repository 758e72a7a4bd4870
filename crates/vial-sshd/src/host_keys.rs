//! The server's own keys, from files.
//!
//! Their permissions are not judged: in a pod they come from a Secret, whose files a group may read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use russh::keys::{PrivateKey, decode_secret_key};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read the host key {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot use the host key {}", path.display())]
    Decode {
        path: PathBuf,
        source: russh::keys::Error,
    },
    #[error(
        "no host key in {}: make one with ssh-keygen -t ed25519 -f ssh_host_ed25519_key",
        places(.looked)
    )]
    None { looked: Vec<PathBuf> },
}

fn places(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// Reads the keys at `paths`: files, or directories of `ssh_host_*_key`.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Vec<PrivateKey>, KeyError> {
    let mut keys = Vec::new();
    for path in paths {
        if path.is_dir() {
            for file in in_directory(path)? {
                keys.push(read(&file)?);
            }
        } else {
            keys.push(read(path)?);
        }
    }
    if keys.is_empty() {
        return Err(KeyError::None {
            looked: paths.to_vec(),
        });
    }
    Ok(keys)
}

fn in_directory(path: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let error = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("ssh_host_") && name.ends_with("_key") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<PrivateKey, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    decode_secret_key(&text, None).map_err(|source| KeyError::Decode {
        path: path.to_owned(),
        source,
    })
}
