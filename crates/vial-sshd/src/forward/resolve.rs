//! Names to addresses, as the container's /etc/resolv.conf and /etc/hosts say.
//!
//! Deliberately absent: getaddrinfo(3). In a static program it would load the image's name service modules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;

/// Made when it is first needed: most servers never look a name up.
#[derive(Default)]
pub(crate) struct Resolver(OnceCell<TokioResolver>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Resolver")
    }
}

impl Resolver {
    /// All addresses of a name, or the address itself.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if host == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self
            .0
            .get_or_try_init(|| async {
                TokioResolver::builder_tokio()
                    .and_then(|builder| builder.build())
                    .map_err(io::Error::other)
            })
            .await?;
        let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        Ok(found.iter().collect())
    }
}
