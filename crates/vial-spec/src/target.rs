//! What of a cluster a connection leads to, as a person writes it: `svc/default/web`, `w-1`, `10.96.0.1`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::names;

/// What of a cluster a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// `svc/NAMESPACE/NAME`: a Service; any of its endpoints.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// `pod/NAMESPACE/NAME`: a Pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// `w-1`: a node, by its name in the cluster.
    Node(
        /// Its name.
        String,
    ),
    /// An address of a node, pod or service.
    Address(
        /// The address.
        IpAddr,
    ),
    /// Any name with dots: `web.default.svc.cluster.local`, `w-1.dev.vial`.
    Name(
        /// The name.
        String,
    ),
}

/// The port of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// 1 to 65535.
    Number(u16),
    /// As the Service or the Pod names it: `http`.
    Name(String),
}

/// Why a text is no [`Target`] or [`TargetPort`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A namespace is missing, or something is too much.
    #[error(
        "{0:?} is not a target, write svc/NAMESPACE/NAME, pod/NAMESPACE/NAME or the name of a node"
    )]
    Shape(String),
    /// Neither `svc` nor `pod`.
    #[error("{0:?} is not a kind of target, those are svc and pod")]
    Kind(String),
    /// Brackets around something else.
    #[error("{0:?} is not an IPv6 address")]
    Address(String),
    /// Neither a number nor a name.
    #[error(
        "{0:?} is not a port, those are 1 to 65535 or the name that a Service or Pod gives one"
    )]
    Port(String),
    /// A node has no names for its ports.
    #[error("{0:?} is not a port number, and only Services and Pods name their ports")]
    Unnamed(String),
    /// Another protocol.
    #[error("{0:?}: only TCP is forwarded; inside the cluster UDP works as usual")]
    Protocol(String),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] names::NameError),
}

impl FromStr for Target {
    type Err = TargetError;

    /// IPv6 addresses may stand in brackets.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(inner) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            let wrong = |_| TargetError::Address(inner.to_owned());
            return inner
                .parse()
                .map(IpAddr::V6)
                .map(Target::Address)
                .map_err(wrong);
        }
        if let Ok(address) = text.parse() {
            return Ok(Target::Address(address));
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match *parts.as_slice() {
            [name] if name.contains('.') => {
                check_labels(name)?;
                return Ok(Target::Name(name.to_owned()));
            }
            [node] => {
                names::check_label(node, 63)?;
                return Ok(Target::Node(node.to_owned()));
            }
            [kind, namespace, name] => (kind, namespace, name),
            _ => return Err(TargetError::Shape(text.to_owned())),
        };
        names::check_label(namespace, 63)?;
        // A pod's name may be a whole DNS name (Kubernetes "Object Names and IDs").
        if kind == "pod" {
            check_labels(name)?;
        } else {
            names::check_label(name, 253)?;
        }
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match kind {
            "svc" | "service" | "services" => Ok(Target::Service { namespace, name }),
            "pod" | "pods" | "po" => Ok(Target::Pod { namespace, name }),
            _ => Err(TargetError::Kind(kind.to_owned())),
        }
    }
}

/// Labels and dots, 253 characters (RFC 1123 section 2.1).
fn check_labels(name: &str) -> Result<(), names::NameError> {
    if name.len() > 253 {
        return names::check_label(name, 253);
    }
    name.split('.')
        .try_for_each(|label| names::check_label(label, 253))
}

impl FromStr for TargetPort {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !protocol.eq_ignore_ascii_case("tcp") {
            return Err(TargetError::Protocol(text.to_owned()));
        }
        let wrong = || TargetError::Port(text.to_owned());
        // The standard conversion allows a sign.
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            return match port.parse() {
                Ok(0) | Err(_) => Err(wrong()),
                Ok(number) => Ok(TargetPort::Number(number)),
            };
        }
        // IANA_SVC_NAME, as Kubernetes wants names of ports (RFC 6335 section 5.1); a Service's may be as long as a label.
        let has_letter = port.bytes().any(|byte| byte.is_ascii_lowercase());
        match names::check_label(port, 63) {
            Ok(()) if has_letter => Ok(TargetPort::Name(port.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl Target {
    /// Can this target have a port of that kind?
    ///
    /// # Errors
    /// Only Services and Pods name their ports; a [`Target::Name`] may turn out to be a Service.
    pub fn check_port(&self, port: &TargetPort) -> Result<(), TargetError> {
        match (self, port) {
            (Target::Node(_) | Target::Address(_), TargetPort::Name(name)) => {
                Err(TargetError::Unnamed(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// The form that is parsed; IPv6 addresses in brackets, so that a port may follow.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Service { namespace, name } => write!(f, "svc/{namespace}/{name}"),
            Target::Pod { namespace, name } => write!(f, "pod/{namespace}/{name}"),
            Target::Node(name) | Target::Name(name) => f.write_str(name),
            Target::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Target::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for TargetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetPort::Number(number) => write!(f, "{number}"),
            TargetPort::Name(name) => f.write_str(name),
        }
    }
}

impl From<u16> for TargetPort {
    fn from(number: u16) -> Self {
        TargetPort::Number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let (namespace, name) = ("ns".to_owned(), "web".to_owned());
        let service = Target::Service {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        for text in ["svc/ns/web", "service/ns/web", "services/ns/web"] {
            assert_eq!(text.parse(), Ok(service.clone()), "{text}");
        }
        let name = "web-0.a".to_owned();
        assert_eq!(
            "po/ns/web".parse(),
            Ok(Target::Pod {
                namespace: namespace.clone(),
                name: "web".into()
            })
        );
        assert_eq!(
            "pod/ns/web-0.a".parse(),
            Ok(Target::Pod { namespace, name })
        );
        assert_eq!("w-1".parse(), Ok(Target::Node("w-1".into())));
        assert_eq!(
            "10.96.0.1".parse(),
            Ok(Target::Address([10, 96, 0, 1].into()))
        );
        for text in ["fd89::101", "[fd89::101]"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), "[fd89::101]");
        }
        let name = "web.default.svc.cluster.local";
        assert_eq!(name.parse(), Ok(Target::Name(name.into())));
    }

    #[test]
    fn ports_are_numbers_or_names() {
        assert_eq!("80".parse(), Ok(TargetPort::Number(80)));
        assert_eq!("80/tcp".parse(), Ok(TargetPort::Number(80)));
        assert_eq!("http-2".parse(), Ok(TargetPort::Name("http-2".into())));
        for wrong in ["", "0", "65536", "+80", "-1", "HTTP", "8 0", "-a"] {
            let error = wrong.parse::<TargetPort>().unwrap_err();
            assert_eq!(error, TargetError::Port(wrong.into()), "{wrong}");
        }
        let error = "53/udp".parse::<TargetPort>().unwrap_err();
        assert!(error.to_string().contains("only TCP"), "{error}");
        let named = "http".parse().unwrap();
        assert!(Target::Node("w-1".into()).check_port(&named).is_err());
        assert!(
            "svc/a/b"
                .parse::<Target>()
                .unwrap()
                .check_port(&named)
                .is_ok()
        );
    }
}
