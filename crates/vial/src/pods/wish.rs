//! The flags of `vial pod create`: what may be asked for, as it is typed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use vial_cloud::plan::{Dns, Expose, Files, PodOptions, PortWish, Pull, VolumeWish};

use crate::cli::assignment;
use crate::error::{Code, Error, Result};
use crate::when;

/// What may be asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct WishArgs {
    /// The image [default: vial/toolbox on a vial cluster, else debian:stable-slim]
    #[arg(short, long, value_name = "IMAGE")]
    image: Option<String>,
    /// A user beside root, made on the fly; `sudo` needs no password
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// A public key that may log in, or its file; beside your own. Any number of times
    #[arg(long, value_name = "FILE")]
    ssh_key: Vec<String>,
    /// Public keys of an authority whose certificates may log in
    #[arg(long, value_name = "FILE")]
    ssh_ca: Vec<PathBuf>,
    /// The shell, absolute [default: bash, else sh, else a small built-in one]
    #[arg(long, value_name = "PATH")]
    shell: Option<String>,
    /// Processors: 2, 500m
    #[arg(long, value_name = "AMOUNT")]
    cpu: Option<String>,
    /// Memory: 512Mi, 2Gi
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<String>,
    /// An environment variable, any number of times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// A port of the Service beside ssh, any number of times: 80, 8080:80, 53/udp
    #[arg(short, long, value_name = "[SERVICE:]PORT[/udp]")]
    port: Vec<PortWish>,
    /// Reach the ports at every node, too
    #[arg(long, conflicts_with = "load_balancer")]
    node_port: bool,
    /// Reach the ports at an address of a load balancer, too
    #[arg(long)]
    load_balancer: bool,
    /// A path of the node, a claim that is there, or a new claim; any number of times
    #[arg(long, value_name = "/PATH|CLAIM|NAME:SIZE[:/MOUNT][:ro]")]
    volume: Vec<VolumeWish>,
    /// A file for /var/secrets, any number of times
    #[arg(long, value_name = "[NAME=]FILE")]
    secret: Vec<String>,
    /// A file for /var/config, any number of times
    #[arg(long, value_name = "[NAME=]FILE")]
    config: Vec<String>,
    /// The node
    #[arg(long, value_name = "NODE")]
    on: Option<String>,
    /// A label that the node has to have, any number of times
    #[arg(long, value_name = "LABEL=VALUE", value_parser = assignment)]
    node_selector: Vec<(String, String)>,
    /// Which DNS it asks
    #[arg(
        long,
        value_enum,
        value_name = "cluster|node",
        default_value = "cluster",
        hide_possible_values = true
    )]
    dns: DnsFlag,
    /// All rights on the node
    #[arg(long)]
    privileged: bool,
    /// A capability, any number of times: NET_ADMIN
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// The node's network instead of one of its own
    #[arg(long)]
    host_network: bool,
    /// The networks it is on: `default` is the cluster's; others are not there yet
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        hide_default_value = true
    )]
    network: Vec<String>,
    /// As uid 1000 and without privileges: fits Pod Security `restricted`
    #[arg(long, conflicts_with_all = ["privileged", "cap_add", "host_network"])]
    non_root: bool,
    /// Its image cannot be written to
    #[arg(long)]
    read_only: bool,
    /// Run only the ssh server, not the image's own entry point
    #[arg(long, conflicts_with = "command")]
    no_entry: bool,
    /// Run this instead of the image's own entry point, by `sh -c`; or an argument list after `--`
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// When to ask a registry for the image
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing")]
    pull: PullFlag,
    /// Remove it after this time: 2h, 30m, 1d
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<SignedDuration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DnsFlag {
    Cluster,
    Node,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PullFlag {
    Always,
    Missing,
    Never,
}

fn ttl(text: &str) -> Result<SignedDuration, String> {
    // jiff's spans know no days here: a day is 24 hours.
    let text = match text.strip_suffix('d').map(str::parse::<u64>) {
        Some(Ok(days)) => format!("{}h", days.saturating_mul(24)),
        _ => text.to_owned(),
    };
    let span = when::parse_span(&text)?;
    SignedDuration::try_from(span).map_err(|_| "that is too long".to_owned())
}

impl WishArgs {
    /// As options; files are read.
    ///
    /// # Errors
    /// When something cannot be right, or a file cannot be read.
    pub(crate) fn options(self, arguments: Vec<String>) -> Result<PodOptions> {
        if let Some(other) = self.network.iter().find(|name| *name != "default") {
            let message =
                format!("there is no network `{other}`: pods have the cluster's, `default`");
            return Err(Error::new(Code::BadInput, message));
        }
        let command = match self.command {
            Some(line) => vec!["sh".into(), "-c".into(), line],
            None => arguments,
        };
        let mut options = PodOptions {
            image: self.image,
            user: self.user,
            shell: self.shell,
            ssh_keys: Vec::new(),
            user_ca: Vec::new(),
            cpu: self.cpu,
            memory: self.memory,
            env: self.env.into_iter().collect(),
            ports: self.port,
            expose: match (self.node_port, self.load_balancer) {
                (true, _) => Expose::NodePort,
                (_, true) => Expose::LoadBalancer,
                _ => Expose::Cluster,
            },
            volumes: self.volume,
            secrets: files(&self.secret)?,
            configs: files(&self.config)?,
            on: self.on,
            node_selector: self.node_selector.into_iter().collect::<BTreeMap<_, _>>(),
            dns: match self.dns {
                DnsFlag::Cluster => Dns::Cluster,
                DnsFlag::Node => Dns::Node,
            },
            privileged: self.privileged,
            cap_add: self.cap_add,
            host_network: self.host_network,
            non_root: self.non_root,
            read_only: self.read_only,
            command,
            no_entry: self.no_entry,
            pull: match self.pull {
                PullFlag::Always => Pull::Always,
                PullFlag::Missing => Pull::IfNotPresent,
                PullFlag::Never => Pull::Never,
            },
            ttl: self.ttl,
        };
        options.user_ca = self
            .ssh_ca
            .iter()
            .map(|file| read_text(file))
            .collect::<Result<_, _>>()?;
        options.ssh_keys = self.ssh_key;
        resolve_keys(&mut options)?;
        Ok(options)
    }
}

/// Public keys that are named by files become lines; what is no public key is refused.
///
/// # Errors
/// When a file cannot be read, or is no public key.
pub(crate) fn resolve_keys(options: &mut PodOptions) -> Result<()> {
    let mut lines = Vec::new();
    for key in &options.ssh_keys {
        let (text, whence) = match key.contains(' ') {
            true => (key.clone(), "the key".to_owned()),
            false => (read_text(Path::new(key))?, key.clone()),
        };
        lines.extend(public_keys(&text, &whence)?);
    }
    options.ssh_keys = lines;
    let mut authorities = Vec::new();
    for text in &options.user_ca {
        authorities.extend(public_keys(text, "the authority")?);
    }
    options.user_ca = authorities;
    Ok(())
}

/// The lines that are public keys.
pub(crate) fn public_keys(text: &str, whence: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains("PRIVATE KEY") {
            let message = format!("{whence} is a private key");
            return Err(Error::new(Code::BadInput, message)
                .hint("name the public one: the file that ends with .pub"));
        }
        if !is_public_key(line) {
            let message = format!("{whence} is no public key of OpenSSH");
            return Err(
                Error::new(Code::BadInput, message).hint("it looks like `ssh-ed25519 AAAA… NAME`")
            );
        }
        lines.push(line.to_owned());
    }
    match lines.is_empty() {
        true => Err(Error::new(
            Code::BadInput,
            format!("{whence} holds no public key"),
        )),
        false => Ok(lines),
    }
}

/// Type, then base64 that says the same type (RFC 4253, 6.6), somewhere in the line: options may stand before.
fn is_public_key(line: &str) -> bool {
    use base64::Engine as _;
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).any(|two| {
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(two[1]) else {
            return false;
        };
        let name = two[0].as_bytes();
        let length = u32::try_from(name.len()).unwrap_or_default().to_be_bytes();
        bytes.starts_with(&length) && bytes[4..].starts_with(name) && bytes.len() > 4 + name.len()
    })
}

fn read_text(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(Error::unreadable(file.display()))
}

/// `[NAME=]FILE`: the file's own name is the default.
pub(crate) fn files(list: &[String]) -> Result<Files> {
    let mut files = Files::default();
    for item in list {
        let (name, path) = match item.split_once('=') {
            Some((name, path)) if !name.contains('/') => (name.to_owned(), Path::new(path)),
            _ => {
                let path = Path::new(item);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                (name.into_owned(), path)
            }
        };
        let content = fs::read(path).map_err(Error::unreadable(path.display()))?;
        if files.0.insert(name.clone(), content).is_some() {
            return Err(Error::new(
                Code::BadInput,
                format!("two files are called {name}"),
            ));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0v2eXjM0bQd2zqJr0mJp3Jc2m1W0m3xg0m8l0fYw5e ann@home";

    #[test]
    fn only_public_keys_are_keys() {
        assert_eq!(
            public_keys(&format!("# mine\n{KEY}\n"), "f").unwrap(),
            [KEY]
        );
        assert!(public_keys(&format!("no-pty {KEY}"), "f").is_ok());
        for bad in [
            "",
            "hello world",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert!(public_keys(bad, "f").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ttl_may_be_days() {
        assert_eq!(ttl("2d").unwrap(), SignedDuration::from_hours(48));
        assert_eq!(ttl("90m").unwrap(), SignedDuration::from_mins(90));
        assert!(ttl("0s").is_err() && ttl("-1h").is_err() && ttl("5").is_err());
    }
}
