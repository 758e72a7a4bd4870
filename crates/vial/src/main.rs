//! Real Kubernetes clusters that are sealed, disposable and freezable on one Linux machine.
fn main() {}
