//! Which ports there shall be, from those that are and those that are asked for; pure.

use std::net::SocketAddr;

use vial_engine::record::OpenPort;
use vial_spec::port::PortForward;

/// Two forwarded ports want the same port of the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted}: that port leads to {target} already")]
pub(crate) struct Conflict {
    wanted: String,
    target: String,
    address: SocketAddr,
}

impl Conflict {
    fn new(wanted: &PortForward, there: &PortForward) -> Self {
        Self {
            wanted: wanted.to_string(),
            target: format!("{}:{}", there.target, there.target_port),
            address: there.host(),
        }
    }

    /// The next step.
    pub(crate) fn hint(&self) -> String {
        format!("`vial port rm {}` frees it", self.address)
    }
}

/// What an `up` makes of the ports: `wanted` instead of those that the last one wanted (`before`); what `vial port add`
/// added since stays. A port that stays keeps the number that was chosen for it.
pub(crate) fn merge(
    before: &[PortForward],
    open: &[OpenPort],
    wanted: &[PortForward],
) -> Result<Vec<OpenPort>, Conflict> {
    let is_added =
        |one: &&OpenPort| !before.contains(&one.forward) && !wanted.contains(&one.forward);
    let added: Vec<OpenPort> = open.iter().filter(is_added).cloned().collect();
    let mut all = Vec::new();
    for forward in wanted {
        let there = open.iter().find(|one| one.forward == *forward);
        all.push(there.cloned().unwrap_or_else(|| unchosen(forward)));
    }
    for one in &added {
        let here = one.resolved();
        if let Some(wanted) = all.iter().find(|other| other.resolved().collides(&here)) {
            return Err(Conflict::new(&wanted.forward, &here));
        }
    }
    all.extend(added);
    Ok(all)
}

/// What `vial port add` makes of them. One that is there already is left alone.
pub(crate) fn add(open: &[OpenPort], more: &[PortForward]) -> Result<Vec<OpenPort>, Conflict> {
    let mut all = open.to_vec();
    for forward in more {
        let same = |one: &OpenPort| one.forward == *forward || one.resolved() == *forward;
        // Two free ports for one target are two ports.
        if forward.port != 0 && all.iter().any(same) {
            continue;
        }
        if let Some(there) = all.iter().find(|one| one.resolved().collides(forward)) {
            return Err(Conflict::new(forward, &there.resolved()));
        }
        all.push(unchosen(forward));
    }
    Ok(all)
}

fn unchosen(forward: &PortForward) -> OpenPort {
    OpenPort {
        forward: forward.clone(),
        port: forward.port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwards(texts: &[&str]) -> Vec<PortForward> {
        texts
            .iter()
            .map(|text| text.parse().expect("a port"))
            .collect()
    }

    fn open(ports: &[(&str, u16)]) -> Vec<OpenPort> {
        let one = |(text, port): &(&str, u16)| OpenPort {
            forward: text.parse().expect("a port"),
            port: *port,
        };
        ports.iter().map(one).collect()
    }

    #[test]
    fn an_up_replaces_what_the_last_one_wanted_and_keeps_what_was_added() {
        let there = open(&[
            ("0:w-1:80", 40_001),
            ("8080:w-1:80", 8080),
            ("9090:w-1:90", 9090),
        ]);
        let before = forwards(&["0:w-1:80", "8080:w-1:80"]);
        let merged = merge(&before, &there, &forwards(&["0:w-1:80", "8081:w-1:80"]));
        let expected = open(&[
            ("0:w-1:80", 40_001),
            ("8081:w-1:80", 8081),
            ("9090:w-1:90", 9090),
        ]);
        assert_eq!(merged, Ok(expected));
        // The same port may lead elsewhere from now on.
        let merged = merge(&before, &there, &forwards(&["8080:w-2:80"])).expect("free");
        assert_eq!(
            merged,
            open(&[("8080:w-2:80", 8080), ("9090:w-1:90", 9090)])
        );
    }

    #[test]
    fn what_was_added_is_not_taken_away_silently() {
        let there = open(&[("9090:w-1:90", 9090)]);
        let error = merge(&[], &there, &forwards(&["9090:w-2:90"])).expect_err("in use");
        assert_eq!(
            error.to_string(),
            "9090:w-2:90: that port leads to w-1:90 already"
        );
        assert_eq!(error.hint(), "`vial port rm 127.0.0.1:9090` frees it");
        assert_eq!(merge(&[], &there, &forwards(&["9090:w-1:90"])), Ok(there));
    }

    #[test]
    fn adding_again_changes_nothing_and_elsewhere_is_a_conflict() {
        let there = open(&[("0:w-1:80", 40_001)]);
        assert_eq!(add(&there, &forwards(&["40001:w-1:80"])), Ok(there.clone()));
        assert!(add(&there, &forwards(&["40001:w-2:80"])).is_err());
        assert!(add(&there, &forwards(&["8080:w-1:80", "8080:w-2:80"])).is_err());
        assert_eq!(
            add(&there, &forwards(&["0:w-1:80"])).map(|all| all.len()),
            Ok(2)
        );
    }
}
