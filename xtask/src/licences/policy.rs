//! What deny.toml allows, as far as it is checked here: `[licenses]`, `[sources]` and the targets of `[graph]`.
//!
//! Everything else in the file is for `cargo deny` alone and is passed over.

use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use super::Package;

/// Why deny.toml cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    #[error("it is not what cargo deny reads")]
    Syntax(#[from] toml::de::Error),
    #[error("`{licence}` is not an SPDX licence")]
    Licence {
        licence: String,
        source: spdx::ParseError,
    },
}

/// The rules.
#[derive(Debug)]
pub(super) struct Policy {
    /// What is built for; everything when empty.
    pub(super) targets: Vec<String>,
    allowed: Vec<Licensee>,
    exceptions: Vec<(String, Vec<Licensee>)>,
    registries: Vec<String>,
    repositories: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    graph: Graph,
    licenses: Licenses,
    sources: Sources,
}

#[derive(Default, Deserialize)]
struct Graph {
    #[serde(default)]
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    package: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
    #[serde(default)]
    allow_git: Vec<String>,
}

impl Policy {
    /// Reads deny.toml.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text)?;
        let exceptions = file.licenses.exceptions.into_iter();
        Ok(Self {
            targets: file.graph.targets,
            allowed: licensees(&file.licenses.allow)?,
            exceptions: exceptions
                .map(|exception| Ok((exception.package, licensees(&exception.allow)?)))
                .collect::<Result<_, PolicyError>>()?,
            registries: file.sources.allow_registry,
            repositories: file.sources.allow_git,
        })
    }

    /// What is wrong with a package; empty when it may be used.
    pub(super) fn problems(&self, package: &Package) -> Vec<String> {
        let named = |problem: String| format!("{} {}: {problem}", package.name, package.version);
        self.source_problem(package)
            .into_iter()
            .chain(self.licence_problem(package))
            .map(named)
            .collect()
    }

    fn source_problem(&self, package: &Package) -> Option<String> {
        // A path: vial's own.
        let source = package.source.as_deref()?;
        let (kind, url) = source.split_once('+').unwrap_or(("", source));
        let known = match kind {
            "registry" | "sparse" => self.registries.iter().any(|allowed| allowed == url),
            // What follows names the branch and the commit.
            "git" => self
                .repositories
                .iter()
                .any(|allowed| url.split(['?', '#']).next() == Some(allowed)),
            _ => false,
        };
        (!known).then(|| format!("it comes from {source}, which deny.toml does not allow"))
    }

    fn licence_problem(&self, package: &Package) -> Option<String> {
        let Some(text) = package.license.as_deref() else {
            return Some("it does not say its licence".into());
        };
        // Some old packages write `MIT/Apache-2.0`.
        let expression = match Expression::parse_mode(text, ParseMode::LAX) {
            Ok(expression) => expression,
            Err(error) => {
                return Some(format!(
                    "its licence `{text}` is not an SPDX expression: {}",
                    error.reason
                ));
            }
        };
        let exception = self
            .exceptions
            .iter()
            .filter(|(name, _)| *name == package.name)
            .flat_map(|(_, allowed)| allowed);
        let allowed: Vec<&Licensee> = self.allowed.iter().chain(exception).collect();
        let fine =
            expression.evaluate(|wanted| allowed.iter().any(|licence| licence.satisfies(wanted)));
        (!fine).then(|| format!("its licence `{text}` is not among those that deny.toml allows"))
    }
}

fn licensees(names: &[String]) -> Result<Vec<Licensee>, PolicyError> {
    let parse = |name: &String| {
        Licensee::parse(name).map_err(|source| PolicyError::Licence {
            licence: name.clone(),
            source,
        })
    };
    names.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "BSD-3-Clause"]
        exceptions = [{ crate = "odd", allow = ["MPL-2.0"] }]
        [sources]
        unknown-git = "deny"
        allow-registry = ["https://github.com/rust-lang/crates.io-index"]
        allow-git = ["https://example.com/kept"]
    "#;

    fn problems(name: &str, license: Option<&str>, source: Option<&str>) -> Vec<String> {
        let package = Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(Into::into),
            source: source.map(Into::into),
        };
        Policy::parse(TEXT).unwrap().problems(&package)
    }

    #[test]
    fn one_alternative_is_enough_but_all_parts_are_needed() {
        for fine in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(GPL-2.0 OR MIT) AND BSD-3-Clause",
        ] {
            assert_eq!(problems("a", Some(fine), None), [""; 0], "{fine}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MPL-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "LicenseRef-own",
        ] {
            assert_eq!(problems("a", Some(bad), None).len(), 1, "{bad}");
        }
        assert!(
            problems("a", Some("free for all"), None)[0]
                .starts_with("a 1.0.0: its licence `free for all` is not an SPDX")
        );
        assert_eq!(
            problems("a", None, None),
            ["a 1.0.0: it does not say its licence"]
        );
    }

    #[test]
    fn an_exception_is_for_one_package() {
        assert!(problems("odd", Some("MPL-2.0"), None).is_empty());
        assert!(!problems("other", Some("MPL-2.0"), None).is_empty());
    }

    #[test]
    fn only_known_sources() {
        for fine in [
            "registry+https://github.com/rust-lang/crates.io-index",
            "git+https://example.com/kept?branch=main#0123",
        ] {
            assert_eq!(problems("a", Some("MIT"), Some(fine)), [""; 0], "{fine}");
        }
        for bad in [
            "registry+https://example.com/index",
            "git+https://example.com/kept2",
            "git+https://example.com/kept/..",
            "x",
        ] {
            assert_eq!(problems("a", Some("MIT"), Some(bad)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_licence_that_does_not_exist_is_refused() {
        let error = Policy::parse(&TEXT.replace("BSD-3-Clause", "BSD-3-Claus")).unwrap_err();
        assert_eq!(error.to_string(), "`BSD-3-Claus` is not an SPDX licence");
    }
}
