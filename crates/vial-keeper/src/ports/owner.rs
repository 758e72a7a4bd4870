//! Who listens on a port of the host: its socket's inode (/proc/net/tcp), and the process that has it open (/proc/PID/fd).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// `nginx (pid 42)`, when it can be found: a process of another mount or pid namespace may hide it.
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| {
            let text = fs::read_to_string(table).ok()?;
            text.lines()
                .skip(1)
                .find_map(|line| listener(line, address))
        })?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let mut descriptors = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let has = descriptors.any(|one| {
            fs::read_link(one.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        if has {
            return Some(format!("{} (pid {pid})", name_of(&process.path())));
        }
    }
    None
}

/// A process as a person knows it. Keepers are named by their argument: all of them run the same program.
fn name_of(process: &Path) -> String {
    let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    match read("cmdline").split('\0').collect::<Vec<_>>().as_slice() {
        ["vial-keeper", cluster, ..] => format!("the keeper of cluster {cluster}"),
        _ => read("comm").trim().to_owned(),
    }
}

/// The inode of a line of /proc/net/tcp when it listens (state 0A) where `address` wants to (proc_pid_net(5)).
fn listener(line: &str, address: SocketAddr) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    if *state != "0A" || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let ip = ip_of(ip)?;
    let every = ip.is_unspecified() || address.ip().is_unspecified();
    (ip == address.ip() || every).then(|| (*inode).to_owned())
}

/// Words of 32 bits in the machine's order.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_where_it_listens() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let at = |address: &str| listener(line, address.parse().expect("an address"));
        assert_eq!(at("127.0.0.1:8080").as_deref(), Some("4711"));
        assert_eq!(at("0.0.0.0:8080").as_deref(), Some("4711"));
        assert_eq!(at("127.0.0.2:8080"), None);
        assert_eq!(at("127.0.0.1:8081"), None);
        assert_eq!(
            ip_of("00000000000000000000000001000000"),
            Some("::1".parse().expect("v6"))
        );
    }
}
