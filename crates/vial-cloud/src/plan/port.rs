//! `--port [SERVICE:]CONTAINER[/udp]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A protocol of a Service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A port that the Service has beside that of ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct PortWish {
    /// Of the Service.
    pub service: u16,
    /// Of the container.
    pub container: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// In a file it may be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u16),
    Text(String),
}

impl PortWish {
    fn name(&self) -> String {
        format!("{}-{}", self.protocol.as_str().to_lowercase(), self.service)
    }

    pub(super) fn of_service(&self) -> Value {
        json!({
            "name": self.name(),
            "port": self.service,
            "protocol": self.protocol.as_str(),
            "targetPort": self.container,
        })
    }

    pub(super) fn of_container(&self) -> Value {
        json!({
            "name": self.name(),
            "containerPort": self.container,
            "protocol": self.protocol.as_str(),
        })
    }
}

impl FromStr for PortWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => return Err(format!("`{other}` is not tcp, udp or sctp")),
        };
        let (service, container) = ports.split_once(':').unwrap_or((ports, ports));
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("`{text}` is not a port (1 to 65535)")),
        };
        let wish = Self {
            service: number(service)?,
            container: number(container)?,
            protocol,
        };
        match (wish.service, protocol) {
            (22, Protocol::Tcp) => Err("port 22 is that of ssh".into()),
            _ => Ok(wish),
        }
    }
}

impl TryFrom<Written> for PortWish {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(port) => port.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for PortWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if self.container != self.service {
            write!(f, ":{}", self.container)?;
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            other => write!(f, "/{}", other.as_str().to_lowercase()),
        }
    }
}

impl From<PortWish> for String {
    fn from(wish: PortWish) -> Self {
        wish.to_string()
    }
}
