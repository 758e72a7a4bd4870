//! Which Kubernetes: a version, or a node image.

use super::{FieldPath, Overrides, Problems};
use crate::defaults;
use crate::file::File;

/// The node image, from whichever of the four places names one; the command line wins over the file.
pub(super) fn node_image(file: &File, overrides: &Overrides, problems: &mut Problems) -> String {
    let root = FieldPath::root();
    let written = (
        root.key("kubernetes"),
        root.key("nodeImage"),
        &file.kubernetes,
        &file.node_image,
    );
    let flags = (
        FieldPath::argument("--kubernetes"),
        FieldPath::argument("--node-image"),
        &overrides.kubernetes,
        &overrides.node_image,
    );
    for place in [&flags, &written] {
        match place {
            (version, image, Some(_), Some(_)) => {
                problems.add_hint(
                    image,
                    format!("{version} says already which image"),
                    Some("give one of them".into()),
                );
                return String::new();
            }
            (path, _, Some(version), None) => {
                return match normalize_kubernetes(version) {
                    Ok(version) => format!("{}:{version}", defaults::NODE_IMAGE_REPOSITORY),
                    Err(message) => {
                        problems.add(path, message);
                        String::new()
                    }
                };
            }
            (_, path, None, Some(image)) => {
                return check_node_image(image).unwrap_or_else(|message| {
                    problems.add(path, message);
                    String::new()
                });
            }
            (_, _, None, None) => {}
        }
    }
    format!(
        "{}:{}",
        defaults::NODE_IMAGE_REPOSITORY,
        defaults::KUBERNETES
    )
}

/// `1.36.3` and `v1.36.3` are both `v1.36.3`. Whether vial supports the version is not asked here.
///
/// # Errors
/// Why it is no version, in words for people.
pub fn normalize_kubernetes(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "{text:?} is not a version of Kubernetes, as {} is",
            defaults::KUBERNETES
        )
    };
    let bare = text.strip_prefix('v').unwrap_or(text);
    let (release, suffix) = match bare.split_once('-') {
        Some((release, suffix)) => (release, Some(suffix)),
        None => (bare, None),
    };
    let numbers: Vec<&str> = release.split('.').collect();
    let number = |text: &&str| {
        let digits =
            !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        digits && (text.len() == 1 || !text.starts_with('0'))
    };
    if !numbers.iter().all(number) || numbers.len() > 3 {
        return Err(wrong());
    }
    if numbers.len() < 3 {
        return Err(format!(
            "{text:?} is not a whole version, as {} is",
            defaults::KUBERNETES
        ));
    }
    // semver's pre-release, of which Kubernetes uses `alpha.1`, `beta.0`, `rc.1`.
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if suffix.is_some_and(|suffix| suffix.is_empty() || !suffix.chars().all(allowed)) {
        return Err(wrong());
    }
    Ok(format!("v{bare}"))
}

/// `NAME[:TAG]`, as the OCI distribution specification has names and tags; the tag is `latest` unless given.
///
/// # Errors
/// Why it is no image's name, in words for people.
pub fn check_node_image(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{text:?} is not the name of an image, as vial/node:v1.36.3 is: {why}"
        ))
    };
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match text[slash..].rfind(':') {
        Some(colon) => (&text[..slash + colon], Some(&text[slash + colon + 1..])),
        None => (text, None),
    };
    let (host, path) = match name.split_once('/') {
        // A first part with a dot or a port is the host of a registry.
        Some((host, path)) if host.contains([':', '.']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, name),
    };
    let host_allowed = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let host_begins = |c: char| c.is_ascii_alphanumeric() || c == '[';
    if host.is_some_and(|host| !host.starts_with(host_begins) || !host.chars().all(host_allowed)) {
        return wrong("what is before the first \"/\" is not a host");
    }
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().last())
    };
    if name.len() > 255 || !path.split('/').all(part) {
        return wrong(
            "a name has lower-case letters and digits, with \".\", \"_\", \"-\" and \"/\" between",
        );
    }
    let tag = tag.unwrap_or("latest");
    let tag_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let first = tag
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !first || tag.len() > 128 || !tag.bytes().all(tag_allowed) {
        return wrong("a tag has letters, digits, \".\", \"_\" and \"-\", at most 128");
    }
    Ok(format!("{name}:{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        for (text, version) in [
            ("v1.36.3", "v1.36.3"),
            ("1.36.3", "v1.36.3"),
            ("v1.37.0-rc.1", "v1.37.0-rc.1"),
            ("1.36.10", "v1.36.10"),
        ] {
            assert_eq!(normalize_kubernetes(text).as_deref(), Ok(version));
        }
        for text in [
            "",
            "v",
            "latest",
            "v1.36.x",
            "v1.36.3.4",
            "1.036.3",
            "v1.36.3-",
            "v1.36.3-a/b",
            "v+1.36.3",
        ] {
            let message = format!("{text:?} is not a version of Kubernetes, as v1.36.3 is");
            assert_eq!(normalize_kubernetes(text), Err(message));
        }
        assert_eq!(
            normalize_kubernetes("1.36"),
            Err(r#""1.36" is not a whole version, as v1.36.3 is"#.to_owned())
        );
    }

    #[test]
    fn images() {
        for (text, image) in [
            ("vial/node:v1.36.3", "vial/node:v1.36.3"),
            ("mine", "mine:latest"),
            (
                "127.0.0.1:5000/vial/node",
                "127.0.0.1:5000/vial/node:latest",
            ),
            ("localhost:5000/n:Tag_1", "localhost:5000/n:Tag_1"),
        ] {
            assert_eq!(check_node_image(text).as_deref(), Ok(image));
        }
        for text in [
            "",
            ":v1",
            "Vial/node:v1",
            "vial//node:v1",
            "../node:v1",
            "vial/node:",
            "vial/node:a b",
            "/node",
        ] {
            assert!(check_node_image(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_asked(text in any::<String>()) {
            let _ = normalize_kubernetes(&text);
            if let Ok(image) = check_node_image(&text) {
                prop_assert_eq!(check_node_image(&image), Ok(image));
            }
        }
    }
}
