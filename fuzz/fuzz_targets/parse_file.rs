//! Any text is a cluster or has problems; nothing panics, and a problem's place lies in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vial_spec::{File, Overrides};

fuzz_target!(|text: &str| {
    let Ok(file) = File::parse(text, "vial.yaml") else {
        return;
    };
    let read = |_: &std::path::Path| Ok("a: b".to_owned());
    match file.validate(&Overrides::default(), &read) {
        Ok(spec) => {
            for node in &spec.nodes {
                assert_eq!(
                    spec.node_pod_cidrs(node).len(),
                    spec.network.pod_cidrs.len()
                );
            }
            assert_eq!(
                spec.dns_service_ips().len(),
                spec.network.service_cidrs.len()
            );
        }
        Err(errors) => assert!(!errors.problems.is_empty()),
    }
});
