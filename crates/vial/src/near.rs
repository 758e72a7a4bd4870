//! Names that look like the one that was not found.

/// At most three of `names`, the nearest first, when they are near at all.
pub(crate) fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&wanted.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        // A third of the letters may differ; in short names like `w-1` one or two letters.
        .filter(|(distance, name)| {
            *distance
                <= (wanted.chars().count() / 3)
                    .max(2)
                    .min(name.chars().count().saturating_sub(1))
                || (wanted.len() > 2 && (name.contains(wanted) || wanted.contains(name)))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// `did you mean w-1 or w-2?`, or which names there are, or that there are none.
pub(crate) fn hint<'a>(
    what: &str,
    wanted: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    match near(wanted, names.clone()).as_slice() {
        [] => {
            let all: Vec<&str> = names.into_iter().collect();
            match all.len() {
                0 => format!("there is no {what}"),
                1..=12 => format!("there is {}", and(&all, "and")),
                more => format!("there are {more}: {}, …", all[..12].join(", ")),
            }
        }
        near => format!("did you mean {}?", and(near, "or")),
    }
}

fn and(names: &[&str], word: &str) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_nearest_first() {
        assert_eq!(
            near("kubelte", ["kube-proxy", "kubelet", "etcd"]),
            ["kubelet"]
        );
        assert_eq!(near("w1", ["cp-1", "w-1", "w-2"]), ["w-1", "w-2"]);
        assert_eq!(near("api", ["kube-apiserver", "etcd"]), ["kube-apiserver"]);
        assert!(near("zebra", ["kubelet", "etcd"]).is_empty());
    }

    #[test]
    fn the_hint_always_helps() {
        assert_eq!(hint("node", "w1", ["w-1"]), "did you mean w-1?");
        assert_eq!(
            hint("cluster", "zebra", ["dev", "test", "vial"]),
            "there is dev, test and vial"
        );
        assert_eq!(hint("cluster", "zebra", []), "there is no cluster");
    }
}
