//! Debian control files: stanzas of `Field: value`, as in Release, Packages and a package's own `control`.
//!
//! The form is that of Debian Policy 5.1 and deb822(5): field names are case-insensitive, a line that starts with a space
//! continues the field above it, an empty line ends a stanza.

use super::error::DebianError;
use super::relation::{AnyOf, Relation, parse_field};
use super::version::Version;

/// One stanza; borrows from the text it was read from.
#[derive(Debug, Default)]
pub(crate) struct Stanza<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// The field's value without the space around it; continuation lines keep their newlines.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn parse(text: &'a str) -> Result<Self, String> {
        let mut fields = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = rest.len();
            for (index, _) in rest.match_indices('\n') {
                if !rest[index + 1..].starts_with([' ', '\t']) {
                    end = index + 1;
                    break;
                }
            }
            let (field, after) = rest.split_at(end);
            rest = after;
            if field.starts_with('#') || field.trim().is_empty() {
                continue;
            }
            let (name, value) = field
                .split_once(':')
                .ok_or_else(|| format!("\"{}\" is not a field", field.trim_end()))?;
            fields.push((name, value.trim()));
        }
        Ok(Self { fields })
    }
}

/// All stanzas of a file.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Result<Stanza<'_>, String>> {
    text.split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
        .map(|stanza| Stanza::parse(stanza.trim_start_matches('\n')))
}

/// How much the archive thinks a package matters (Policy 2.5); the order is the preference among providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A system without it is broken.
    Required,
    /// Expected on any Unix-like system.
    Important,
    /// A reasonably small character-mode system.
    Standard,
    /// All the rest.
    Optional,
}

/// One binary package of an index: what resolving and fetching it needs.
#[derive(Debug, Clone)]
pub struct Package {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: Version,
    /// `Architecture`: the index's or `all`.
    pub architecture: String,
    /// `Essential: yes`.
    pub essential: bool,
    /// `Priority`.
    pub priority: Priority,
    /// `Pre-Depends` and `Depends`: the former first.
    pub depends: Vec<AnyOf>,
    /// `Provides`; a bound is always `=`.
    pub provides: Vec<Relation>,
    /// `Conflicts` and `Breaks`.
    pub conflicts: Vec<Relation>,
    /// `Filename`, relative to the archive's base URL.
    pub filename: String,
    /// `Size` in bytes.
    pub size: u64,
    /// `SHA256`, lower-case hexadecimal.
    pub sha256: String,
}

impl Package {
    /// Reads a stanza of a Packages file.
    pub(crate) fn from_stanza(stanza: &Stanza<'_>) -> Result<Self, String> {
        let name = stanza
            .get("Package")
            .ok_or("a stanza has no Package field")?
            .to_owned();
        let need = |field: &str| {
            stanza
                .get(field)
                .ok_or_else(|| format!("package {name} has no {field}"))
        };
        let relations = |field: &str| {
            parse_field(stanza.get(field).unwrap_or(""))
                .map_err(|error| format!("package {name}, {field}: {error}"))
        };
        let single = |field: &str| {
            relations(field).map(|list| list.into_iter().flat_map(|any| any.0).collect::<Vec<_>>())
        };
        let mut depends = relations("Pre-Depends")?;
        depends.extend(relations("Depends")?);
        let mut conflicts = single("Conflicts")?;
        conflicts.extend(single("Breaks")?);
        Ok(Self {
            version: Version::new(need("Version")?),
            architecture: need("Architecture")?.to_owned(),
            essential: stanza.get("Essential") == Some("yes"),
            priority: match stanza.get("Priority") {
                Some("required") => Priority::Required,
                Some("important") => Priority::Important,
                Some("standard") => Priority::Standard,
                _ => Priority::Optional,
            },
            depends,
            provides: single("Provides")?,
            conflicts,
            filename: plain_path(need("Filename")?)
                .ok_or_else(|| format!("package {name} has a Filename outside of the archive"))?
                .to_owned(),
            size: need("Size")?
                .parse()
                .map_err(|_| format!("package {name} has a Size that is no number"))?,
            sha256: need("SHA256")?.to_ascii_lowercase(),
            name,
        })
    }

    /// Whether it, or something it provides, satisfies the relation (Policy 7.5: an unversioned Provides never
    /// satisfies a versioned relation).
    pub fn satisfies(&self, relation: &Relation) -> bool {
        (self.name == relation.name && relation.admits(&self.version))
            || self.provides_for(relation)
    }

    /// Whether something it provides satisfies the relation.
    pub fn provides_for(&self, relation: &Relation) -> bool {
        self.provides
            .iter()
            .filter(|provided| provided.name == relation.name)
            .any(|provided| match (&relation.bound, &provided.bound) {
                (None, _) => true,
                (Some(_), Some((_, version))) => relation.admits(version),
                (Some(_), None) => false,
            })
    }
}

/// A relative path that stays inside its base, or nothing.
fn plain_path(path: &str) -> Option<&str> {
    let plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then_some(path)
}

/// All packages of a Packages file; `file` names it in errors.
pub(crate) fn packages(file: &str, text: &str) -> Result<Vec<Package>, DebianError> {
    stanzas(text)
        .map(|stanza| {
            stanza
                .and_then(|stanza| Package::from_stanza(&stanza))
                .map_err(|reason| DebianError::malformed(file, reason))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZA: &str = "Package: criu\nVersion: 4.2.1-1\nArchitecture: amd64\nPriority: optional\nDepends: libc6 (>= 2.38),\n libnet9\nPre-Depends: dpkg\n\
        Provides: checkpointer (= 4), restorer\nBreaks: old (<< 2)\nFilename: pool/c/criu.deb\nSize: 12\nSHA256: ABCD\nDescription: short\n long\n";

    #[test]
    fn reads_a_package() {
        let all = packages(
            "test",
            &format!("{STANZA}\n{}", STANZA.replace("criu", "other")),
        )
        .unwrap();
        assert_eq!(all.len(), 2);
        let criu = &all[0];
        assert_eq!(
            criu.depends
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["dpkg", "libc6 (>= 2.38)", "libnet9"]
        );
        assert_eq!((criu.size, criu.sha256.as_str()), (12, "abcd"));
        let satisfies = |relation: &str| criu.satisfies(&Relation::parse(relation).unwrap());
        assert!(
            satisfies("criu (>= 4.2.1)")
                && satisfies("checkpointer (>= 3)")
                && satisfies("restorer")
        );
        assert!(!satisfies("restorer (>= 1)") && !satisfies("checkpointer (>> 4)"));
    }

    #[test]
    fn names_the_package_with_a_bad_field() {
        for (from, to) in [
            ("Size: 12", "Size: x"),
            ("Filename: pool/c/criu.deb", "Filename: ../etc/passwd"),
            ("Filename: pool", "Filename: /pool"),
        ] {
            let error = packages("Packages", &STANZA.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("Packages: package criu has a"), "{error}");
        }
    }

    #[test]
    fn fields_are_case_insensitive_and_continue() {
        let stanza = Stanza::parse("SHA256:\n a 1 x\n b 2 y\nDate: now\n").unwrap();
        assert_eq!(stanza.get("sha256").unwrap().lines().count(), 2);
        assert_eq!(stanza.get("date"), Some("now"));
    }
}
