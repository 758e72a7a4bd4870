//! Forwarded ports, as a person writes them: `8080:svc/NAMESPACE/NAME:80`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::target::{Target, TargetError, TargetPort};

/// A port of the host and what of the cluster answers there.
///
/// `[ADDRESS:]PORT:TARGET:PORT[,public]`, where `TARGET` is `svc/NAMESPACE/NAME`, `pod/NAMESPACE/NAME`, a node, an
/// address or a name of the cluster's DNS, and `public` allows an `ADDRESS` that other machines can reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PortForward {
    /// Where the host listens; 127.0.0.1 unless asked otherwise. Not a loopback address: a public one was meant.
    pub address: IpAddr,
    /// The host's port; 0 lets the kernel choose one.
    pub port: u16,
    /// What answers.
    pub target: Target,
    /// The target's port.
    pub target_port: TargetPort,
}

impl PortForward {
    /// Where the host listens; port 0 for one that is not chosen yet.
    #[must_use]
    pub fn host(&self) -> SocketAddr {
        (self.address, self.port).into()
    }

    /// Do both want the same port of the host? Those with a port that is to be chosen never do.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        let every =
            |one: &IpAddr, two: &IpAddr| one.is_unspecified() && (one.is_ipv4() == two.is_ipv4());
        self.port != 0
            && self.port == other.port
            && (self.address == other.address
                || every(&self.address, &other.address)
                || every(&other.address, &self.address))
    }
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
    #[error("{0:?} is not a port number, those are 1 to 65535, and 0 for a free one")]
    Port(String),
    /// The host address is none.
    #[error("{0:?} is not an address of the host, write IPv6 in brackets: [::1]:8080:w-1:80")]
    Address(String),
    /// Not a loopback address, and nobody said that this is meant.
    #[error("{0} can be reached from other machines; end it with \",public\" if that is meant")]
    Public(IpAddr),
    /// Something else than `public` after a comma.
    #[error("{0:?} is not known after a comma, only \"public\" is")]
    Option(String),
    /// What answers.
    #[error(transparent)]
    Target(#[from] TargetError),
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
    let (text, public) = match text.split_once(',') {
        None => (text, false),
        Some((text, "public")) => (text, true),
        Some((_, other)) => return Err(Reason::Option(other.to_owned())),
    };
    let (rest, target_port) = text.rsplit_once(':').ok_or(Reason::Shape)?;
    let (host, target) = split_outside_brackets(rest).ok_or(Reason::Shape)?;
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) => (self::address(address)?, port),
        None => (IpAddr::V4(Ipv4Addr::LOCALHOST), host),
    };
    let port = number(port)?;
    if !public && !address.is_loopback() {
        return Err(Reason::Public(address));
    }
    let (target, target_port) = (target.parse::<Target>()?, target_port.parse()?);
    target.check_port(&target_port)?;
    Ok(PortForward {
        address,
        port,
        target,
        target_port,
    })
}

/// At the last colon that is not part of an IPv6 address.
fn split_outside_brackets(text: &str) -> Option<(&str, &str)> {
    let from = text.rfind('[').filter(|_| text.ends_with(']'));
    let end = text[..from.unwrap_or(text.len())].rfind(':')?;
    Some((&text[..end], &text[end + 1..]))
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

/// The form that is parsed, without the address when it is the usual one.
impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => {}
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}:{}:{}", self.port, self.target, self.target_port)?;
        if !self.address.is_loopback() {
            f.write_str(",public")?;
        }
        Ok(())
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
                target_port: TargetPort::Number(53),
            }
        );
        assert_eq!(forward("8443:w-1:443").target, Target::Node("w-1".into()));
        let pod = forward("0.0.0.0:0:pod/ns/web-0.a:80,public");
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
        let named = forward("127.0.0.2:8080:svc/a/web:http");
        assert_eq!(named.target_port, TargetPort::Name("http".into()));
        for same in ["8080:[fd89::101]:80", "[::1]:8080:10.96.0.1:80"] {
            assert_eq!(forward(same).to_string(), same);
        }
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
                r#""80800" is not a port number, those are 1 to 65535, and 0 for a free one"#,
            ),
            (
                "+80:w-1:80",
                r#""+80" is not a port number, those are 1 to 65535, and 0 for a free one"#,
            ),
            (
                "8080:w-1:0",
                r#""0" is not a port, those are 1 to 65535 or the name that a Service or Pod gives one"#,
            ),
            (
                "8080:w-1:http",
                r#""http" is not a port number, and only Services and Pods name their ports"#,
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
            (
                "0.0.0.0:8080:w-1:80",
                r#"0.0.0.0 can be reached from other machines; end it with ",public" if that is meant"#,
            ),
            (
                "8080:w-1:80,pubic",
                r#""pubic" is not known after a comma, only "public" is"#,
            ),
            (
                "5353:svc/kube-system/kube-dns:53/udp",
                r#""53/udp": only TCP is forwarded; inside the cluster UDP works as usual"#,
            ),
        ] {
            let error = text.parse::<PortForward>().unwrap_err();
            assert_eq!(error.reason.to_string(), reason, "{text}");
        }
    }

    prop_compose! {
        fn any_forward()(
            v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), family in any::<bool>(), port in any::<u16>(),
            kind in 0..4, namespace in "[a-z]([-a-z0-9]{0,20}[a-z0-9])?", name in "[a-z]([-a-z0-9]{0,20}[a-z0-9])?",
            number in 1..=u16::MAX, named in any::<bool>(), port_name in "[a-z]([-a-z0-9]{0,12}[a-z0-9])?",
        ) -> PortForward {
            let target = match kind {
                0 => Target::Service { namespace, name },
                1 => Target::Pod { namespace, name },
                2 => Target::Address(v6.into()),
                _ => Target::Node(name),
            };
            let target_port = if named && kind < 2 { TargetPort::Name(port_name) } else { number.into() };
            let address = if family { v4.into() } else { v6.into() };
            PortForward { address, port, target, target_port }
        }
    }

    #[test]
    fn one_port_of_the_host_is_given_once() {
        let collide =
            |one, two| forward(one).collides(&forward(two)) && forward(two).collides(&forward(one));
        assert!(collide("8080:w-1:80", "8080:w-2:80"));
        assert!(collide("0.0.0.0:8080:w-1:80,public", "8080:w-2:80"));
        assert!(!collide("[::1]:8080:w-1:80", "8080:w-1:80"));
        assert!(!collide("127.0.0.2:8080:w-1:80", "8080:w-1:80"));
        assert!(!collide("0:w-1:80", "0:w-1:80"));
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
