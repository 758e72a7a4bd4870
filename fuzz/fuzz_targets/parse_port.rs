//! Any text is refused or read; what is read is read the same from what it writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vial_spec::port::PortForward;

fuzz_target!(|text: &str| {
    if let Ok(value) = text.parse::<PortForward>() {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
});
