//! Names with dots: those of nodes and Services are understood, other names of the cluster are asked of its own DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use vial_sandbox::Sandbox;
use vial_spec::ClusterSpec;
use vial_spec::target::Target;

use super::{Unreachable, way};
use crate::serve::{read_message, write_message};

/// The domain of Services and Pods.
const DOMAIN: &str = ".cluster.local";
/// How long the cluster's DNS may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same as this target.
    Target(Target),
    /// A name that only the cluster's DNS knows: `db-0.db.default.svc.cluster.local`.
    Ask,
}

/// What a name means in the cluster `cluster`.
pub(super) fn meaning(name: &str, cluster: &str) -> Result<Meaning, Unreachable> {
    if let Some(name) = name.strip_suffix(".vial") {
        let node = name.strip_suffix(&format!(".{cluster}")).unwrap_or(name);
        if let Some((_, other)) = node.rsplit_once('.') {
            return Err(Unreachable::Unknown {
                what: format!("{name}.vial is no node of cluster {cluster}"),
                hint: Some(format!("-c {other} names another cluster")),
            });
        }
        return Ok(Meaning::Target(Target::Node(node.to_owned())));
    }
    let short = name.strip_suffix(DOMAIN).unwrap_or(name);
    let labels: Vec<&str> = short.split('.').collect();
    match labels.as_slice() {
        [name, namespace, "svc"] => {
            let (namespace, name) = ((*namespace).to_owned(), (*name).to_owned());
            Ok(Meaning::Target(Target::Service { namespace, name }))
        }
        [_, _, .., "svc" | "pod"] => Ok(Meaning::Ask),
        _ => Err(Unreachable::Unknown {
            what: format!("{name} is no name of cluster {cluster}"),
            hint: Some(
                "those are w-1, w-1.vial, NAME.NAMESPACE.svc and what else ends in .cluster.local"
                    .into(),
            ),
        }),
    }
}

/// The addresses that the cluster's DNS has for a name.
pub(super) async fn ask(
    sandbox: &dyn Sandbox,
    spec: &ClusterSpec,
    name: &str,
) -> Result<Vec<IpAddr>, Unreachable> {
    let full = format!("{}{DOMAIN}.", name.strip_suffix(DOMAIN).unwrap_or(name));
    let failed = |reason: String| Unreachable::Failed {
        target: name.to_owned(),
        reason: format!("cannot ask the cluster's DNS: {reason}"),
    };
    let wanted = Name::from_ascii(&full).map_err(|error| failed(error.to_string()))?;
    let server = spec.dns_service_ips().into_iter().next();
    let server = server.ok_or_else(|| failed("it has no address".into()))?;
    let way = way::from_control_plane(spec, server, 53);
    let asking = async {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            addresses.extend(lookup(sandbox, &way, &wanted, kind).await?);
        }
        Ok::<_, String>(addresses)
    };
    let addresses = tokio::time::timeout(PATIENCE, asking).await;
    let addresses = addresses
        .map_err(|_| failed("no answer".into()))?
        .map_err(failed)?;
    if addresses.is_empty() {
        return Err(Unreachable::Unknown {
            what: format!("the cluster's DNS does not know {name}"),
            hint: None,
        });
    }
    Ok(addresses)
}

async fn lookup(
    sandbox: &dyn Sandbox,
    way: &way::Way,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<IpAddr>, String> {
    let mut query = Message::new(0, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let query = query.to_vec().map_err(|error| error.to_string())?;
    let address: SocketAddr = way.address;
    let stream = sandbox.dial(way.from.network(), address).await;
    let mut stream = stream.map_err(|error| crate::failure::chain(&error))?;
    let answered = async {
        write_message(&mut stream, &query).await?;
        read_message(&mut stream).await
    };
    let answer = answered.await.map_err(|error| error.to_string())?;
    let answer = Message::from_vec(&answer).map_err(|error| error.to_string())?;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(code.to_string()),
    }
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    Ok(answer
        .answers
        .iter()
        .filter_map(|record| address(&record.data))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_and_services_are_understood() {
        for (name, target) in [
            ("w-1.vial", "w-1"),
            ("w-1.dev.vial", "w-1"),
            ("web.default.svc", "svc/default/web"),
            ("web.default.svc.cluster.local", "svc/default/web"),
        ] {
            let target = target.parse().expect("a target");
            assert_eq!(meaning(name, "dev"), Ok(Meaning::Target(target)), "{name}");
        }
        for name in [
            "db-0.db.default.svc",
            "10-244-9-2.default.pod.cluster.local",
        ] {
            assert_eq!(meaning(name, "dev"), Ok(Meaning::Ask), "{name}");
        }
        let other = meaning("w-1.test.vial", "dev").expect_err("another cluster");
        assert!(
            other.hint().is_some_and(|hint| hint.contains("-c test")),
            "{other:?}"
        );
        for name in ["example.com", "svc.cluster.local", "default.svc"] {
            assert!(
                matches!(meaning(name, "dev"), Err(Unreachable::Unknown { .. })),
                "{name}"
            );
        }
    }
}
