//! End to end: the vial binary, real clusters, a real kernel. Each test reads like a story told with [`lab::Lab`].
#![expect(
    clippy::print_stderr,
    reason = "a test tells what its clean-up did, and why it was skipped"
)]

mod bad_input;
mod base_image;
mod cluster;
mod configured;
mod copies;
mod crane;
mod diagnose;
mod docs;
mod engines;
mod events;
mod families;
mod flood;
mod frozen;
mod http;
mod images;
mod interrupted;
mod lab;
mod load_balancer;
mod logins;
mod logs;
mod machine_shapes;
mod machines;
mod means;
mod mirror;
mod no_space;
mod nodes;
mod ordinary_user;
mod outbound;
mod pods;
mod pods_ssh;
mod ports;
mod public_registry;
mod registry;
mod sealed;
mod side_by_side;
mod stuck;
mod workloads;
mod world;
