//! Removing what lies on the sandbox's disk: only the first process sees it where that is the disk of a machine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path};

use tonic::Status;

/// The cluster's own directory, as seen inside.
const CLUSTER: &str = "/vial/cluster";

/// Removes a directory below the cluster's. It is renamed first, so that no half of it is ever used.
///
/// # Errors
/// `INVALID_ARGUMENT` for any other path, `INTERNAL` with the reason.
pub(super) fn directory(path: &str) -> Result<(), Status> {
    let path = Path::new(path);
    let below = path.strip_prefix(CLUSTER).ok();
    let plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    if !below.is_some_and(|below| below != Path::new("") && below.components().all(plain)) {
        let text = format!("{} is not below {CLUSTER}", path.display());
        return Err(Status::invalid_argument(text));
    }
    let aside = path.with_added_extension("old");
    let failed = |error: std::io::Error| {
        Status::internal(format!("cannot remove {}: {error}", path.display()))
    };
    tree(&aside).map_err(failed)?;
    match fs::rename(path, &aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    tree(&aside).map_err(failed)
}

fn tree(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_removed() {
        for path in [
            "/vial/cluster",
            "/vial/cluster/",
            "/etc",
            "/vial/cluster/../image",
            "nodes",
            "",
        ] {
            let refused = directory(path).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{path}");
        }
    }
}
