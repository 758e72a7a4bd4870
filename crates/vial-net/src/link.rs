//! Interfaces over netlink: looking up, addresses and routes brought to the wanted set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use crate::NetError;
use crate::error::During;
use crate::wish::{Interface, Route, difference, is_kernels_own};

/// An interface that exists.
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) controller: Option<u32>,
}

impl Link {
    /// Finds an interface by name.
    pub(crate) async fn find(handle: &Handle, name: &str) -> Result<Option<Self>, NetError> {
        let found = handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute()
            .try_next()
            .await;
        match found.during(|| format!("look up the interface {name}")) {
            Ok(Some(message)) => Ok(Some(Self::from(name, &message))),
            Ok(None) => Ok(None),
            Err(error) if error.source.raw_os_error() == Some(19) => Ok(None), // ENODEV
            Err(error) => Err(error),
        }
    }

    /// Finds an interface that has to be there.
    pub(crate) async fn expect(handle: &Handle, name: &str) -> Result<Self, NetError> {
        Self::find(handle, name).await?.ok_or_else(|| NetError {
            operation: format!("look up the interface {name}"),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Finds the interface with a hardware address, which is to be called `name`.
    pub(crate) async fn with_address(
        handle: &Handle,
        mac: [u8; 6],
        name: &str,
    ) -> Result<Self, NetError> {
        let operation = || {
            let parts: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("find the interface {name}, {}", parts.join(":"))
        };
        let mut all = handle.link().get().execute();
        while let Some(message) = all.try_next().await.during(operation)? {
            let has = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Address(address) if *address == mac);
            let name = message.attributes.iter().find_map(|one| match one {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            if let (Some(name), true) = (name, message.attributes.iter().any(has)) {
                return Ok(Self::from(&name, &message));
            }
        }
        Err(NetError {
            operation: operation(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Calls it otherwise.
    pub(crate) async fn rename(&self, handle: &Handle, name: &str) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(self.index).name(name.to_owned());
        let set = handle.link().set(message.build()).execute().await;
        set.during(|| format!("call the interface {} {name}", self.name))
    }

    fn from(name: &str, message: &LinkMessage) -> Self {
        let controller = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Controller(index) => Some(*index),
                _ => None,
            });
        Self {
            index: message.header.index,
            name: name.to_owned(),
            controller,
        }
    }

    /// Removes it (of a veth pair, both ends).
    pub(crate) async fn remove(&self, handle: &Handle) -> Result<(), NetError> {
        handle
            .link()
            .del(self.index)
            .execute()
            .await
            .during(|| format!("remove the interface {}", self.name))
    }

    /// Switches it on.
    pub(crate) async fn up(&self, handle: &Handle) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(self.index).up().build();
        handle
            .link()
            .set(message)
            .execute()
            .await
            .during(|| format!("switch on the interface {}", self.name))
    }

    /// Plugs it into a bridge and switches it on.
    pub(crate) async fn plug(&self, handle: &Handle, bridge: u32) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(self.index)
            .controller(bridge)
            .up()
            .build();
        handle
            .link()
            .set(message)
            .execute()
            .await
            .during(|| format!("plug {} into its bridge", self.name))
    }

    /// Brings addresses and (static) routes to what is wanted; what the kernel or others laid stays.
    pub(crate) async fn configure(
        &self,
        handle: &Handle,
        want: &Interface,
    ) -> Result<(), NetError> {
        let have = self.addresses(handle).await?;
        let change = difference(
            &have.iter().map(|(network, _)| *network).collect(),
            &want.addresses,
        );
        for (network, message) in have
            .into_iter()
            .filter(|(network, _)| change.remove.contains(network))
        {
            let removed = handle.address().del(message).execute().await;
            removed.during(|| format!("remove the address {network} from {}", self.name))?;
        }
        for network in change.add {
            let mut request = handle
                .address()
                .add(self.index, network.addr(), network.prefix_len())
                .replace();
            if network.addr().is_ipv6() {
                request
                    .message_mut()
                    .attributes
                    .push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            request
                .execute()
                .await
                .during(|| format!("add the address {network} to {}", self.name))?;
        }
        self.route(handle, &want.routes).await
    }

    async fn addresses(&self, handle: &Handle) -> Result<Vec<(IpNet, AddressMessage)>, NetError> {
        let request = handle.address().get().set_link_index_filter(self.index);
        let all: Vec<_> = request
            .execute()
            .try_collect()
            .await
            .during(|| format!("list the addresses of {}", self.name))?;
        Ok(all
            .into_iter()
            .filter(|message| message.header.index == self.index)
            .filter_map(|message| Some((network_of(&message)?, message)))
            .filter(|(network, _)| !is_kernels_own(network.addr()))
            .collect())
    }

    async fn route(&self, handle: &Handle, want: &BTreeSet<Route>) -> Result<(), NetError> {
        let mut have = Vec::new();
        for family in [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let routes: Vec<RouteMessage> = handle
                .route()
                .get(family)
                .execute()
                .try_collect()
                .await
                .during(|| "list routes".to_owned())?;
            have.extend(
                routes
                    .into_iter()
                    .filter_map(|message| Some((route_of(&message, self.index)?, message))),
            );
        }
        let change = difference(&have.iter().map(|(route, _)| *route).collect(), want);
        for (route, message) in have
            .into_iter()
            .filter(|(route, _)| change.remove.contains(route))
        {
            let removed = handle.route().del(message).execute().await;
            removed.during(|| {
                format!(
                    "remove the route to {} from {}",
                    route.destination, self.name
                )
            })?;
        }
        for Route {
            destination,
            gateway,
        } in change.add
        {
            let operation = || {
                format!(
                    "add the route to {destination} via {gateway} on {}",
                    self.name
                )
            };
            let message = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(destination.addr(), destination.prefix_len())
                .and_then(|builder| builder.gateway(gateway))
                .map_err(std::io::Error::other)
                .during(operation)?
                .output_interface(self.index)
                .build();
            handle
                .route()
                .add(message)
                .replace()
                .execute()
                .await
                .during(operation)?;
        }
        Ok(())
    }
}

/// Whoever sends something there is told that it is unreachable. What was refused once stays so.
pub(crate) async fn refuse(handle: &Handle, networks: &BTreeSet<IpNet>) -> Result<(), NetError> {
    for network in networks {
        let operation = || format!("refuse {network}");
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.addr(), network.prefix_len())
            .map_err(std::io::Error::other)
            .during(operation)?
            .kind(RouteType::Unreachable)
            .build();
        let added = handle.route().add(message).replace().execute().await;
        added.during(operation)?;
    }
    Ok(())
}

fn network_of(message: &AddressMessage) -> Option<IpNet> {
    // Of IPv4, the local address is the interface's own (rtnetlink(7): IFA_LOCAL); IPv6 has only the other one.
    let own = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let any = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    IpNet::new(own.or(any)?, message.header.prefix_len).ok()
}

/// A route that was laid by us: static, in the main table, over this interface, by way of a gateway.
fn route_of(message: &RouteMessage, index: u32) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.protocol != RouteProtocol::Static {
        return None;
    }
    let (mut destination, mut gateway, mut over) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => over = Some(*index),
            _ => {}
        }
    }
    let gateway = gateway?;
    let any: IpAddr = if gateway.is_ipv6() {
        [0_u16; 8].into()
    } else {
        [0_u8; 4].into()
    };
    let destination =
        IpNet::new(destination.unwrap_or(any), header.destination_prefix_length).ok()?;
    (over == Some(index)).then_some(Route {
        destination,
        gateway,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
