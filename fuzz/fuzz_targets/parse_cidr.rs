//! Any text is refused or read; what is read is read the same from what it writes, and its subnets lie within.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vial_spec::cidr;

fuzz_target!(|input: (&str, u8, u32)| {
    let (text, prefix, n) = input;
    if let Ok(net) = cidr::parse(text) {
        assert_eq!(cidr::parse(&net.to_string()), Ok(net));
        if let Some(subnet) = cidr::nth_subnet(&net, prefix, n) {
            assert!(net.contains(&subnet) && cidr::overlap(&net, &subnet));
        }
    }
});
