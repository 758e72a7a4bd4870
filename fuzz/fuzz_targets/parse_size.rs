//! Any text is refused or read; what is read is read the same from what it writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vial_spec::size::Size;

fuzz_target!(|text: &str| {
    if let Ok(value) = text.parse::<Size>() {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
});
