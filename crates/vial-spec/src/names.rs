//! Names: which ones are allowed, and which one was probably meant.

/// A cluster's name is part of host names and of paths of unix sockets (at most 108 bytes), so it is kept short.
pub const CLUSTER_NAME_MAX: usize = 32;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is needed, none was given")]
    Empty,
    /// Too many characters.
    #[error("{name:?} has {length} characters, at most {max} are possible")]
    TooLong {
        /// The name refused.
        name: String,
        /// How many it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
    /// A character that is not allowed.
    #[error("{name:?} has a {character:?}, possible are lower-case letters, digits and \"-\"")]
    Character {
        /// The name refused.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A hyphen at one of the ends.
    #[error("{name:?} must begin and end with a letter or a digit")]
    Edge {
        /// The name refused.
        name: String,
    },
}

/// Checks a DNS label (RFC 1123 section 2.1, in lower case as Kubernetes wants it) of at most `max` characters.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn check_label(name: &str, max: usize) -> Result<(), NameError> {
    let owned = || name.to_owned();
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character {
            name: owned(),
            character,
        });
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            name: owned(),
            length: name.len(),
            max,
        });
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Edge { name: owned() });
    }
    Ok(())
}

/// Checks the name of a cluster: a DNS label of at most [`CLUSTER_NAME_MAX`] characters.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn check_cluster(name: &str) -> Result<(), NameError> {
    check_label(name, CLUSTER_NAME_MAX)
}

/// The candidate that was probably meant by `wanted`, for "did you mean"; `None` when nothing is near.
///
/// Near is: the same but for case; a few letters wrong, swapped, missing or too many; a part of the candidate
/// (`scheduler` for `kube-scheduler`).
pub fn near<'a, I, S>(wanted: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a S>,
    S: AsRef<str> + ?Sized + 'a,
{
    let wanted = wanted.to_lowercase();
    let length = wanted.chars().count();
    if length == 0 {
        return None;
    }
    // The longest word anybody mistypes; it also bounds the quadratic comparison.
    if length > 128 {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let candidate = candidate.as_ref();
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&wanted, &lower);
            let tolerated = (length.max(lower.chars().count()) / 3).max(1);
            let part = length >= 3 && lower.contains(&wanted);
            (distance <= tolerated || part).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean …", when something is near.
pub fn did_you_mean<'a, I, S>(wanted: &str, candidates: I) -> Option<String>
where
    I: IntoIterator<Item = &'a S>,
    S: AsRef<str> + ?Sized + 'a,
{
    near(wanted, candidates).map(|name| format!("did you mean {name:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels() {
        for good in ["a", "dev", "0", "a-b", &"x".repeat(32)] {
            assert_eq!(check_cluster(good), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("", "a name is needed, none was given"),
            (
                "Dev",
                r#""Dev" has a 'D', possible are lower-case letters, digits and "-""#,
            ),
            (
                "a.b",
                r#""a.b" has a '.', possible are lower-case letters, digits and "-""#,
            ),
            ("-a", r#""-a" must begin and end with a letter or a digit"#),
            ("a-", r#""a-" must begin and end with a letter or a digit"#),
            (
                "../etc",
                r#""../etc" has a '.', possible are lower-case letters, digits and "-""#,
            ),
            (
                &"x".repeat(33),
                r#""xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" has 33 characters, at most 32 are possible"#,
            ),
        ] {
            assert_eq!(check_cluster(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn near_names() {
        let components = [
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
        ];
        for (wanted, expected) in [
            ("kube-api-server", Some("kube-apiserver")),
            ("kubelt", Some("kubelet")),
            ("KUBELET", Some("kubelet")),
            ("scheduler", Some("kube-scheduler")),
            ("etdc", Some("etcd")),
            ("postgres", None),
            ("", None),
        ] {
            assert_eq!(near(wanted, &components), expected, "{wanted}");
        }
        assert_eq!(near("lables", &["labels", "taints"]), Some("labels"));
        assert_eq!(near("worker", &["workers", "nodes"]), Some("workers"));
    }

    proptest! {
        #[test]
        fn a_name_is_nearest_to_itself(names in prop::collection::vec("[a-z]{1,12}", 1..8)) {
            for name in &names {
                prop_assert_eq!(near(name, &names), Some(name.as_str()));
            }
        }

        #[test]
        fn anything_may_be_asked(wanted in any::<String>(), name in any::<String>()) {
            let _ = near(&wanted, &[name]);
            let _ = check_cluster(&wanted);
        }
    }
}
