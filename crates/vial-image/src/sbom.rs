//! The bill of materials: SPDX 2.3 in JSON (spdx.github.io/spdx-spec/v2.3).
//!
//! Debian packages, programs with the Go modules they are linked from, container images. Deterministic: the document's
//! name space is a digest of its content, its time is the image's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::image::ComponentRecord;
use crate::oci::CREATED;

/// A Debian package in a root file system of the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DebianPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// Hexadecimal, of the .deb.
    pub(crate) sha256: String,
    /// In which root file systems it is: `node`, `toolbox`, `vm`.
    pub(crate) part: &'static str,
}

/// The document for an image.
pub(crate) fn document(
    kubernetes: &str,
    suite: &str,
    packages: &[DebianPackage],
    components: &[ComponentRecord],
) -> Value {
    let mut entries: BTreeMap<String, Value> = BTreeMap::new();
    let mut relations: Vec<Value> = Vec::new();
    let mut relate = |from: &str, kind: &str, to: &str| {
        relations.push(
            json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to}),
        );
    };
    let root = "SPDXRef-node-image";
    relate("SPDXRef-DOCUMENT", "DESCRIBES", root);
    for package in packages {
        let id = id(&["deb", package.part, &package.name]);
        let purl = format!(
            "pkg:deb/debian/{}@{}?arch={}&distro=debian-{suite}",
            escape(&package.name),
            escape(&package.version),
            package.architecture
        );
        let mut entry = entry(
            &id,
            &package.name,
            &package.version,
            Some(&package.sha256),
            &purl,
        );
        entry["comment"] = json!(format!("in the root file system `{}`", package.part));
        entries.insert(id.clone(), entry);
        relate(root, "CONTAINS", &id);
    }
    for component in components {
        let id = id(&["component", &component.name]);
        let purl = format!(
            "pkg:generic/{}@{}",
            escape(&component.name),
            escape(&component.version)
        );
        let mut entry = entry(
            &id,
            &component.name,
            &component.version,
            Some(&component.sha256),
            &purl,
        );
        entry["sourceInfo"] = json!(component.source);
        entries.insert(id.clone(), entry);
        relate(root, "CONTAINS", &id);
        for (path, version) in &component.modules {
            let module = self::id(&["go", path, version]);
            relate(&id, "STATIC_LINK", &module);
            entries.entry(module.clone()).or_insert_with(|| {
                self::entry(
                    &module,
                    path,
                    version,
                    None,
                    &format!("pkg:golang/{path}@{}", escape(version)),
                )
            });
        }
    }
    let mut all = vec![json!({
        "SPDXID": root, "name": "vial-node-image", "versionInfo": kubernetes, "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    })];
    all.extend(entries.into_values());
    let content = Digest::of(&crate::oci::to_bytes(&(&all, &relations)));
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("vial node image, Kubernetes {kubernetes}"),
        "documentNamespace": format!("https://vial.invalid/spdx/{}", content.hex()),
        "creationInfo": {"created": CREATED, "creators": ["Tool: vial"]},
        "packages": all,
        "relationships": relations,
    })
}

fn entry(id: &str, name: &str, version: &str, sha256: Option<&str>, purl: &str) -> Value {
    let mut entry = json!({
        "SPDXID": id, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
    });
    if let Some(sha256) = sha256 {
        entry["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256}]);
    }
    entry
}

/// An identifier of letters, digits, `.` and `-` (SPDX 2.3, 7.2); what else occurs is written as its code.
fn id(parts: &[&str]) -> String {
    let mut id = String::from("SPDXRef");
    for part in parts {
        id.push('-');
        for c in part.chars() {
            match c {
                c if c.is_ascii_alphanumeric() || c == '.' || c == '-' => id.push(c),
                '/' => id.push('-'),
                c => id.push_str(&format!(".{:x}.", u32::from(c))),
            }
        }
    }
    id
}

/// Percent-encoding as package URLs want it.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b'/' | b':' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let package = DebianPackage {
            name: "libstdc++6".into(),
            version: "14.2.0-19".into(),
            architecture: "amd64".into(),
            sha256: "ab".repeat(32),
            part: "node",
        };
        let program = |name: &str| ComponentRecord {
            name: name.into(),
            version: "v1".into(),
            source: "go: x".into(),
            sha256: "cd".repeat(32),
            path: None,
            modules: vec![("golang.org/x/sys".into(), "v0.1.0".into())],
        };
        document(
            "v1.36.3",
            "trixie",
            &[package],
            &[program("a"), program("b")],
        )
    }

    #[test]
    fn every_relation_leads_to_a_package_and_every_id_is_valid_and_unique() {
        let document = sample();
        let packages = document["packages"].as_array().unwrap();
        let ids: Vec<_> = packages
            .iter()
            .map(|package| package["SPDXID"].as_str().unwrap())
            .collect();
        assert_eq!(
            ids.iter().collect::<std::collections::HashSet<_>>().len(),
            ids.len()
        );
        for id in &ids {
            assert!(
                id.strip_prefix("SPDXRef-")
                    .unwrap()
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
                "{id}"
            );
        }
        for relation in document["relationships"].as_array().unwrap() {
            assert!(
                ids.contains(&relation["relatedSpdxElement"].as_str().unwrap()),
                "{relation}"
            );
        }
        // Two programs share one module.
        assert_eq!(ids.len(), 1 + 1 + 2 + 1);
    }

    #[test]
    fn says_the_same_twice() {
        assert_eq!(sample(), sample());
        assert!(
            sample()
                .to_string()
                .contains("pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64")
        );
    }
}
