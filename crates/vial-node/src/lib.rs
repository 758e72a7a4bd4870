//! The drivers of nodes, run by the first process of a sandbox
