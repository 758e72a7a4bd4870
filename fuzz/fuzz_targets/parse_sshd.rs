//! What clients, neighbours and files of images give to the ssh server: the first byte says which parser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vial_sshd::parsers;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match which % 8 {
        0 => parsers::authorized_keys(&text),
        1 => {
            parsers::address_patterns(&text, std::net::Ipv4Addr::LOCALHOST.into());
        }
        2 => parsers::users(&text, &text, "root"),
        3 => parsers::sftp(rest),
        4 => parsers::sudo(rest),
        5 => parsers::time(&text),
        6 => parsers::target(&text),
        _ => parsers::echo(rest),
    }
});
