//! vial's own: the node image, what building one needs, the cache of registries, the kubeconfig.

use std::path::Path;
use std::process::{Command, Stdio};

use vial_engine::paths::Paths;
use vial_image::Store;
use vial_keeper::REGISTRY_CACHE_BOUND;

use super::Finding;
use crate::commands::node_image::{default_image, size};
use crate::commands::registry::bytes_below;
use crate::kubeconfig::{self, Environment, Place};

/// The node image, and `go` where the image has still to be built.
pub(super) fn node_image(home: &Path, root: bool) -> Vec<Finding> {
    let images = if home.join("images").exists() {
        match Store::open(home).and_then(|store| store.list()) {
            Ok(images) => images,
            Err(error) => {
                let mend = error
                    .hint()
                    .unwrap_or_else(|| "vial node-image build".into());
                return vec![Finding::fail(
                    "node image",
                    crate::error::chain(&error),
                    mend,
                )];
            }
        }
    } else {
        Vec::new()
    };
    let names: Vec<&str> = images
        .iter()
        .map(|image| image.reference.as_str())
        .collect();
    let there = names.contains(&default_image().as_str());
    let image = match names.as_slice() {
        [] if !root => Finding::warn(
            "node image",
            "none yet; only root can build one",
            "vial node-image load /var/lib/vial/images, or an archive of `vial node-image save`",
        ),
        [] => Finding::info("node image", "none yet; the first `vial up` builds it"),
        names => Finding::ok("node image", names.join(", ")),
    };
    if !root {
        return vec![image];
    }
    let go = match (go_version(), there) {
        (Some(version), _) => Finding::ok("go", version),
        (None, true) => Finding::info(
            "go",
            "not found; the node image is there, so it is not needed",
        ),
        (None, false) => Finding::warn(
            "go",
            "not found",
            "install Go 1.26 or newer (https://go.dev/dl), or build with `--source release` or `--k8s-bin DIR`",
        ),
    };
    vec![image, go]
}

fn go_version() -> Option<String> {
    let output = Command::new("go")
        .arg("version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(
        text.trim()
            .strip_prefix("go version ")
            .unwrap_or(text.trim())
            .to_owned(),
    )
    .filter(|text| !text.is_empty())
}

/// What was pulled from public registries, for all clusters.
pub(super) fn registry_cache(paths: &Paths) -> Finding {
    let cache = paths.registry_cache();
    let (used, most) = (size(bytes_below(&cache)), size(REGISTRY_CACHE_BOUND));
    let found = format!("{used} of at most {most} in {}", cache.display());
    Finding::info("registry cache", found)
}

/// The file that `up` would merge into.
pub(super) fn kubeconfig() -> Finding {
    let place = Place::find(&Environment::of_process());
    let shown = place.path.display();
    match kubeconfig::check(&place) {
        Ok(()) if place.path.exists() => Finding::ok("kubeconfig", shown.to_string()),
        Ok(()) => Finding::ok("kubeconfig", format!("{shown} will be made")),
        Err(error) => {
            let mend = error
                .hint()
                .unwrap_or_else(|| "make it readable, or use `vial up --no-kubeconfig`".into());
            Finding::warn("kubeconfig", crate::error::chain(&error), mend)
        }
    }
}
