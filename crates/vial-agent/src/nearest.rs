//! "Did you mean": names that are like a mistyped one.

/// The known names most like `name`, the likeliest first; none when nothing is alike.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let mut alike: Vec<(f64, &str)> = known
        .iter()
        .map(|candidate| {
            // `scheduler` is meant by kube-scheduler, though far from it by letters.
            let part = name.len() >= 3 && candidate.contains(name);
            (
                if part {
                    1.0
                } else {
                    strsim::jaro_winkler(name, candidate)
                },
                *candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.8)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike
        .into_iter()
        .take(3)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// "no component x; did you mean y?", or which there are.
pub(crate) fn unknown_component(name: &str, known: &[&str]) -> String {
    let alike = nearest(name, known);
    if !alike.is_empty() {
        format!(
            "no component {name} here; did you mean {}?",
            alike.join(" or ")
        )
    } else if known.is_empty() {
        format!("no component {name} here; there is none at all")
    } else {
        format!("no component {name} here; there are {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ];

    #[test]
    fn the_likeliest_come_first() {
        assert_eq!(nearest("ectd", &KNOWN), ["etcd"]);
        assert_eq!(nearest("scheduler", &KNOWN), ["kube-scheduler"]);
        assert_eq!(nearest("kube-apisever", &KNOWN)[0], "kube-apiserver");
        assert_eq!(nearest("sshd", &KNOWN), [""; 0]);
    }

    #[test]
    fn without_a_likely_one_all_are_told() {
        assert_eq!(
            unknown_component("sshd", &KNOWN[..2]),
            "no component sshd here; there are etcd, kube-apiserver"
        );
        assert_eq!(
            unknown_component("sshd", &[]),
            "no component sshd here; there is none at all"
        );
    }
}
