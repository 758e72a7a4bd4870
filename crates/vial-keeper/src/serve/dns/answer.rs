//! What the sandbox's name server knows by itself: the nodes and the registry.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use vial_engine::plan::{REGISTRY, registry_addresses};
use vial_spec::ClusterSpec;

/// Addresses by host name.
pub(super) struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    pub(super) fn of(spec: &ClusterSpec) -> Self {
        let family = spec.network.ip_family;
        let nodes = spec.nodes.iter();
        let nodes = nodes.map(|node| (node.name.clone(), node.addresses(family)));
        let registry = (REGISTRY.to_owned(), registry_addresses(family));
        Self(nodes.chain([registry]).collect())
    }

    /// `None`: not a query. `Some(None)`: not ours to answer.
    #[expect(
        clippy::option_option,
        reason = "the two kinds of no are told apart by the only caller"
    )]
    pub(super) fn answer(&self, query: &[u8]) -> Option<Option<Vec<u8>>> {
        let query = parse(query)?;
        let question = query.queries.first()?;
        let name = question.name().to_ascii().to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let Some(addresses) = self.0.get(name.strip_suffix(".vial").unwrap_or(name)) else {
            return Some(None);
        };
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.metadata.authoritative = true;
        response.add_query(question.clone());
        for address in addresses {
            let data = match (address, question.query_type()) {
                (IpAddr::V4(address), RecordType::A | RecordType::ANY) => {
                    RData::A(rdata::A(*address))
                }
                (IpAddr::V6(address), RecordType::AAAA | RecordType::ANY) => {
                    RData::AAAA(rdata::AAAA(*address))
                }
                _ => continue,
            };
            response.add_answer(Record::from_rdata(question.name().clone(), 60, data));
        }
        Some(response.to_vec().ok())
    }
}

/// The refusal of a query that no resolver answered: `REFUSED` when there is none, else `SERVFAIL`.
pub(super) fn refuse(query: &[u8], no_resolver: bool) -> Option<Vec<u8>> {
    let query = parse(query)?;
    let code = if no_resolver {
        ResponseCode::Refused
    } else {
        ResponseCode::ServFail
    };
    let mut response = Message::error_msg(query.metadata.id, query.metadata.op_code, code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.add_queries(query.queries);
    response.to_vec().ok()
}

fn parse(bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    (message.metadata.message_type == MessageType::Query).then_some(message)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    use super::*;

    fn names() -> Names {
        let addresses = vec![
            [10, 89, 0, 101].into(),
            [0xfd89, 0, 0, 0, 0, 0, 0, 0x101].into(),
        ];
        Names([("w-1".to_owned(), addresses)].into())
    }

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message.to_vec().expect("a message")
    }

    fn answered(name: &str, kind: RecordType) -> Option<Vec<IpAddr>> {
        let answer = names().answer(&query(name, kind)).expect("a query")?;
        let answers = Message::from_vec(&answer).expect("a message").answers;
        Some(
            answers
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .collect(),
        )
    }

    #[test]
    fn node_names_have_their_addresses() {
        assert_eq!(
            answered("w-1.", RecordType::A),
            Some(vec![[10, 89, 0, 101].into()])
        );
        assert_eq!(
            answered("W-1.vial.", RecordType::AAAA).map(|found| found.len()),
            Some(1)
        );
        assert_eq!(answered("w-1.", RecordType::MX), Some(vec![]));
    }

    #[test]
    fn other_names_are_not_ours() {
        assert_eq!(answered("example.org.", RecordType::A), None);
        assert_eq!(answered("w-11.", RecordType::A), None);
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        assert!(names().answer(b"nonsense").is_none());
        assert!(refuse(b"", true).is_none());
    }

    #[test]
    fn a_refusal_repeats_the_question() {
        let refusal = refuse(&query("example.org.", RecordType::A), true).expect("a refusal");
        let refusal = Message::from_vec(&refusal).expect("a message");
        assert_eq!(refusal.metadata.response_code, ResponseCode::Refused);
        assert_eq!(refusal.queries.len(), 1);
    }
}
