//! Forwarded ports, as a person writes them: `8080:svc/NAMESPACE/NAME:80`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names;

/// A port of the host and what of the cluster answers there.
///
/// `[ADDRESS:]PORT:TARGET`, where `TARGET` is `svc/NAMESPACE/NAME:PORT`, `pod/NAMESPACE/NAME:PORT` or `NODE:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForward {
    /// Where the host listens; 127.0.0.1 unless asked otherwise.
    pub address: IpAddr,
    /// The host's port; 0 lets the kernel choose one.
    pub port: u16,
    /// What answers.
    pub target: Target,
    /// The target's port.
    pub target_port: u16,
}

/// What of the cluster a forwarded port leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service; any of its endpoints.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node, by its name in the cluster: `w-1`.
    Node(
        /// Its name.
        String,
    ),
}

/// Why a text is not a forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a forwarded port: {reason}")]
pub struct PortError {
    /// The text refused.
    pub text: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Parts are missing.
    #[error(
        "write [ADDRESS:]PORT:TARGET:PORT, as in 8080:svc/default/web:80, 8443:w-1:443 or 9000:pod/default/db-0:9000"
    )]
    Shape,
    /// Not a port number.
    #[error("{0:?} is not a port number, those are 1 to 65535")]
    Port(String),
    /// The host address is none.
    #[error("{0:?} is not an address of the host, write IPv6 in brackets: [::1]:8080:w-1:80")]
    Address(String),
    /// Neither `svc` nor `pod`.
    #[error("{0:?} is not a kind of target, those are svc and pod")]
    Kind(String),
    /// A namespace is missing, or something is too much.
    #[error(
        "{0:?} is not a target, write svc/NAMESPACE/NAME, pod/NAMESPACE/NAME or the name of a node"
    )]
    Target(String),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] names::NameError),
}

impl FromStr for PortForward {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        parse(text).map_err(|reason| PortError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<PortForward, Reason> {
    let (rest, target_port) = text.rsplit_once(':').ok_or(Reason::Shape)?;
    let (host, target) = rest.rsplit_once(':').ok_or(Reason::Shape)?;
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) => (self::address(address)?, port),
        None => (IpAddr::V4(Ipv4Addr::LOCALHOST), host),
    };
    let port = number(port)?;
    let target_port = match number(target_port)? {
        0 => return Err(Reason::Port(target_port.to_owned())),
        port => port,
    };
    Ok(PortForward {
        address,
        port,
        target: self::target(target)?,
        target_port,
    })
}

fn address(text: &str) -> Result<IpAddr, Reason> {
    let wrong = || Reason::Address(text.to_owned());
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return inner.parse().map(IpAddr::V6).map_err(|_| wrong());
    }
    text.parse().map(IpAddr::V4).map_err(|_| wrong())
}

fn number(text: &str) -> Result<u16, Reason> {
    let wrong = || Reason::Port(text.to_owned());
    // The standard conversion allows a sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn target(text: &str) -> Result<Target, Reason> {
    let parts: Vec<&str> = text.split('/').collect();
    let (kind, namespace, name) = match *parts.as_slice() {
        [node] => {
            names::check_label(node, 63)?;
            return Ok(Target::Node(node.to_owned()));
        }
        [kind, namespace, name] => (kind, namespace, name),
        _ => return Err(Reason::Target(text.to_owned())),
    };
    names::check_label(namespace, 63)?;
    // A pod's name may be a whole DNS name: labels and dots, 253 characters (Kubernetes "Object Names and IDs").
    let labels = if kind == "pod" {
        name.split('.').collect()
    } else {
        vec![name]
    };
    labels
        .into_iter()
        .try_for_each(|label| names::check_label(label, 253))?;
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    match kind {
        "svc" | "service" | "services" => Ok(Target::Service { namespace, name }),
        "pod" | "pods" | "po" => Ok(Target::Pod { namespace, name }),
        _ => Err(Reason::Kind(kind.to_owned())),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Service { namespace, name } => write!(f, "svc/{namespace}/{name}"),
            Target::Pod { namespace, name } => write!(f, "pod/{namespace}/{name}"),
            Target::Node(name) => f.write_str(name),
        }
    }
}

/// The form that is parsed, without the address when it is the usual one.
impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => {}
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}:{}:{}", self.port, self.target, self.target_port)
    }
}

impl Serialize for PortForward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortForward {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(text: &str) -> PortForward {
        text.parse().unwrap()
    }

    #[test]
    fn every_form() {
        let service = forward("8080:svc/kube-system/kube-dns:53");
        assert_eq!(
            service,
            PortForward {
                address: [127, 0, 0, 1].into(),
                port: 8080,
                target: Target::Service {
                    namespace: "kube-system".into(),
                    name: "kube-dns".into()
                },
                target_port: 53,
            }
        );
        assert_eq!(forward("8443:w-1:443").target, Target::Node("w-1".into()));
        let pod = forward("0.0.0.0:0:pod/ns/web-0.a:80");
        assert_eq!((pod.address, pod.port), ([0, 0, 0, 0].into(), 0));
        assert_eq!(
            pod.target,
            Target::Pod {
                namespace: "ns".into(),
                name: "web-0.a".into()
            }
        );
        assert_eq!(
            forward("[::1]:8080:w-1:80").address,
            "::1".parse::<IpAddr>().unwrap()
        );
        assert_eq!(forward("127.0.0.1:8080:w-1:80").to_string(), "8080:w-1:80");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, reason) in [
            (
                "8080",
                "write [ADDRESS:]PORT:TARGET:PORT, as in 8080:svc/default/web:80, 8443:w-1:443 or 9000:pod/default/db-0:9000",
            ),
            (
                "8080:80",
                "write [ADDRESS:]PORT:TARGET:PORT, as in 8080:svc/default/web:80, 8443:w-1:443 or 9000:pod/default/db-0:9000",
            ),
            (
                "80800:w-1:80",
                r#""80800" is not a port number, those are 1 to 65535"#,
            ),
            (
                "+80:w-1:80",
                r#""+80" is not a port number, those are 1 to 65535"#,
            ),
            (
                "8080:w-1:0",
                r#""0" is not a port number, those are 1 to 65535"#,
            ),
            (
                "8080:w-1:http",
                r#""http" is not a port number, those are 1 to 65535"#,
            ),
            (
                "::1:8080:w-1:80",
                r#""::1" is not an address of the host, write IPv6 in brackets: [::1]:8080:w-1:80"#,
            ),
            (
                "localhost:8080:w-1:80",
                r#""localhost" is not an address of the host, write IPv6 in brackets: [::1]:8080:w-1:80"#,
            ),
            (
                "8080:svc/web:80",
                r#""svc/web" is not a target, write svc/NAMESPACE/NAME, pod/NAMESPACE/NAME or the name of a node"#,
            ),
            (
                "8080:deploy/a/web:80",
                r#""deploy" is not a kind of target, those are svc and pod"#,
            ),
            (
                "8080:svc/a/Web:80",
                r#""Web" has a 'W', possible are lower-case letters, digits and "-""#,
            ),
            ("8080::80", "a name is needed, none was given"),
        ] {
            let error = text.parse::<PortForward>().unwrap_err();
            assert_eq!(error.reason.to_string(), reason, "{text}");
        }
    }

    prop_compose! {
        fn any_forward()(
            v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), family in any::<bool>(), port in any::<u16>(),
            kind in 0..3, namespace in "[a-z]([-a-z0-9]{0,20}[a-z0-9])?", name in "[a-z]([-a-z0-9]{0,20}[a-z0-9])?",
            target_port in 1..=u16::MAX,
        ) -> PortForward {
            let target = match kind {
                0 => Target::Service { namespace, name },
                1 => Target::Pod { namespace, name },
                _ => Target::Node(name),
            };
            let address = if family { v4.into() } else { v6.into() };
            PortForward { address, port, target, target_port }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(forward in any_forward()) {
            prop_assert_eq!(forward.to_string().parse(), Ok(forward));
        }

        #[test]
        fn anything_may_be_read(text in any::<String>()) {
            let _ = text.parse::<PortForward>();
        }

        #[test]
        fn anything_like_a_forward_may_be_read(text in r"[\[\]0-9a-z:./-]{0,32}") {
            if let Ok(forward) = text.parse::<PortForward>() {
                prop_assert_eq!(forward.to_string().parse(), Ok(forward));
            }
        }
    }
}
