//! How people name a node: `w-1`, or `w-1.dev.vial` with its cluster.

use vial_engine::record::Record;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::near;

/// The last part of nodes' names on the host.
const DOMAIN: &str = "vial";

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName {
    /// The cluster.
    pub(crate) cluster: String,
    /// The node in it.
    pub(crate) node: String,
}

impl NodeName {
    /// Reads what was typed; `cluster` is meant when it names none.
    pub(crate) fn parse(text: &str, cluster: &str) -> Self {
        let whole = text.strip_suffix(&format!(".{DOMAIN}"));
        let (node, cluster) = whole
            .and_then(|name| name.split_once('.'))
            .unwrap_or((text, cluster));
        Self {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
        }
    }

    /// `w-1.dev.vial`: its name on the host, the same for every program.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.{DOMAIN}", self.node, self.cluster)
    }

    /// Makes sure that there is such a node, without asking the cluster's keeper; returns what is known of the cluster.
    ///
    /// # Errors
    /// When there is no such cluster or node; near names are told.
    pub(crate) fn find(&self, context: &Context) -> Result<Record> {
        let (cluster, node) = (&self.cluster, &self.node);
        let record = context.record(cluster)?;
        let names = record.spec.nodes.iter().map(|node| node.name.as_str());
        if names.clone().any(|name| name == node) {
            return Ok(record);
        }
        let what = format!("cluster `{cluster}` has no node `{node}`");
        Err(Error::new(Code::NotFound, what).hint(near::hint("node", node, names)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_may_be_part_of_the_name() {
        for (text, node, cluster) in [
            ("w-1", "w-1", "dev"),
            ("w-1.test.vial", "w-1", "test"),
            ("w-1.test", "w-1.test", "dev"),
            ("w-1.vial", "w-1.vial", "dev"),
        ] {
            let name = NodeName::parse(text, "dev");
            assert_eq!((&*name.node, &*name.cluster), (node, cluster), "{text}");
        }
        assert_eq!(NodeName::parse("w-1", "dev").host(), "w-1.dev.vial");
    }
}
