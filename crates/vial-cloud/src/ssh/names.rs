//! Short names: read back out of what is written for all clusters, since those who write do not know each other; pure.

use std::collections::BTreeMap;

use super::config::{clash, is_label};

/// One pod in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    /// The shortest name beside the short one.
    called: &'a str,
    /// All lines of its options.
    options: &'a str,
}

/// The configuration of short names for all pods of these configurations ([`super::config::text`]).
#[must_use]
pub fn short<'a>(configs: impl IntoIterator<Item = &'a str>) -> String {
    let mut by_name: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    for entry in configs.into_iter().flat_map(entries) {
        by_name.entry(entry.name).or_default().push(entry);
    }
    let texts = by_name.iter().map(|(name, those)| match those.as_slice() {
        [one] => format!("Host {name}\n{}", one.options),
        several => clash(name, several.iter().map(|one| one.called.to_owned())),
    });
    texts.collect()
}

/// What a configuration says of the namespaces that are not `namespace`: of them nothing new is known.
#[must_use]
pub fn elsewhere(config: &str, known_hosts: &str, namespace: &str) -> (String, String) {
    let other = |host: &str| parts(host).is_some_and(|(_, of)| of != namespace);
    let config = blocks(config)
        .filter(|(hosts, _)| hosts.split(' ').next_back().is_some_and(other))
        .map(|(hosts, options)| format!("Host {hosts}\n{options}"))
        .collect();
    let lines = known_hosts.lines();
    let known_hosts = lines
        .filter(|line| line.split(' ').next().is_some_and(other))
        .map(|line| format!("{line}\n"))
        .collect();
    (config, known_hosts)
}

fn entries(config: &str) -> impl Iterator<Item = Entry<'_>> {
    blocks(config).filter_map(|(hosts, options)| {
        let (name, _) = parts(hosts.split(' ').next_back()?)?;
        let called = hosts.split(' ').next()?;
        Some(Entry {
            name,
            called,
            options,
        })
    })
}

/// Name and namespace of `NAME.NAMESPACE.CONTEXT.vial`.
fn parts(host: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = host.split('.').collect();
    let [name, namespace, context, "vial"] = parts.as_slice() else {
        return None;
    };
    [name, namespace, context]
        .iter()
        .all(|part| is_label(part))
        .then_some((*name, *namespace))
}

/// The `Host` sections: their patterns and their options.
fn blocks(config: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = config;
    std::iter::from_fn(move || {
        let at = match rest.starts_with("Host ") {
            true => 0,
            false => rest.find("\nHost ")? + 1,
        };
        let (hosts, after) = rest[at + "Host ".len()..].split_once('\n')?;
        let end = after
            .split_inclusive('\n')
            .take_while(|line| line.starts_with("  "))
            .map(str::len)
            .sum();
        rest = &after[end..];
        Some((hosts, &after[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::{of, pod};
    use super::*;

    #[test]
    fn a_name_that_only_one_has_is_enough() {
        let one = of("dev", &[pod("vial-pods", "a"), pod("vial-pods", "b")]).config;
        let two = of("prod", &[pod("team", "c")]).config;
        let short = short([one.as_str(), two.as_str()]);
        let hosts: Vec<&str> = short
            .lines()
            .filter(|line| line.starts_with("Host"))
            .collect();
        assert_eq!(hosts, ["Host a", "Host b", "Host c"]);
        let c = short.split("Host c\n").nth(1).unwrap();
        assert!(c.contains("HostKeyAlias c.team.prod.vial"), "{c}");
        assert_eq!(short.matches("ProxyCommand").count(), 3);
    }

    #[test]
    fn a_name_that_several_have_tells_who() {
        let one = of("dev", &[pod("vial-pods", "a")]).config;
        let two = of("prod", &[pod("x", "a"), pod("y", "a")]).config;
        let short = short([one.as_str(), two.as_str()]);
        let said = "several pods are called a: say a.dev.vial or a.x.prod.vial or a.y.prod.vial";
        assert!(short.contains(said), "{short}");
        assert_eq!(short.matches("Host ").count(), 1, "{short}");
    }

    #[test]
    fn what_others_wrote_is_passed_over() {
        for text in ["", "Host", "Host \n", "Host a\n", "garbage\nHost *.x.vial"] {
            assert_eq!(short([text]), "", "{text:?}");
        }
        let clash = of("dev", &[pod("one", "a"), pod("two", "a")]).config;
        let short = short([clash.as_str()]);
        assert!(
            short.contains("say a.one.dev.vial or a.two.dev.vial"),
            "{short}"
        );
    }

    #[test]
    fn other_namespaces_stay() {
        let both = of("dev", &[pod("one", "a"), pod("two", "b")]);
        let (config, known_hosts) = elsewhere(&both.config, &both.known_hosts, "one");
        let two = of("dev", &[pod("two", "b")]);
        assert_eq!((config, known_hosts), (two.config, two.known_hosts));
    }
}
