//! Brings a sandbox's network to the wanted state, whatever it was before.
//!
//! ```text
//! sandbox's namespace:  bridge ── v-w-1 ─┐ veth
//! /run/netns/w-1:                  eth0 ─┘
//!
//! /run/netns/w-2, a machine's:     eth0 ── inner (a bridge) ── tap0 ── QEMU
//! ```
//!
//! Called by the first process of a sandbox, one call at a time. Every step looks first: after a kill at any point the
//! same call finishes the work. What it makes ends with the sandbox.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};

use crate::NetError;
use crate::error::During;
use crate::link::{Link, refuse};
use crate::namespace::{converse, create, exists, forget, own};
use crate::sysctl;
use crate::wish::{Interface, Network, Node, TAP, mac_of, port_name};

/// Where the network namespaces of nodes are bound, as ip-netns(8) has it.
pub const NETNS: &str = "/run/netns";

/// The interface of a node.
const CABLE: &str = "eth0";
/// The bridge between a machine and its node's cable.
const INNER: &str = "inner";

/// Brings the caller's network namespace, and those of the nodes, to what is wanted.
///
/// # Errors
/// The first refusal; what was done until then stays, and the next call goes on from there.
pub async fn apply(network: Network) -> Result<(), NetError> {
    vial_sys::mounts::make_directory(Path::new(NETNS))?;
    remove_others(&network).await?;
    raise_bridge(&network).await?;
    try_join_all(
        network
            .nodes
            .iter()
            .map(|node| raise_node(node, network.mtu)),
    )
    .await?;
    plug_in(&network).await?;
    // Only with both ends plugged in: IPv6 takes an interface without carrier for not ready.
    try_join_all(network.nodes.iter().map(configure_node)).await?;
    Ok(())
}

fn namespace_of(node: &str) -> PathBuf {
    Path::new(NETNS).join(node)
}

/// Ends the namespaces and cables of nodes that are no longer wanted.
async fn remove_others(network: &Network) -> Result<(), NetError> {
    let wanted: BTreeSet<&str> = network
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    let entries = std::fs::read_dir(NETNS).during(|| format!("list {NETNS}"))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names.filter(|name| !wanted.contains(name.as_str())) {
        let port = port_name(&name);
        converse(None, move |handle| async move {
            match Link::find(&handle, &port).await? {
                Some(link) => link.remove(&handle).await,
                None => Ok(()),
            }
        })
        .await?;
        forget(&namespace_of(&name))?;
    }
    Ok(())
}

async fn raise_bridge(network: &Network) -> Result<(), NetError> {
    let (name, mtu, interface) = (
        network.bridge.clone(),
        network.mtu,
        network.interface.clone(),
    );
    let refused = network.refused.clone();
    converse(None, move |handle| async move {
        sysctl::sandbox()?;
        Link::expect(&handle, "lo").await?.up(&handle).await?;
        if Link::find(&handle, &name).await?.is_none() {
            // A hardware address of its own: else it takes the lowest one of its ports and changes with them.
            let mut bridge = LinkBridge::new(&name)
                .address(mac_of(&name).to_vec())
                .mcast_snooping(false);
            if let Some(mtu) = mtu {
                bridge = bridge.mtu(mtu);
            }
            handle
                .link()
                .add(bridge.build())
                .execute()
                .await
                .during(|| format!("make the bridge {name}"))?;
        }
        let bridge = Link::expect(&handle, &name).await?;
        bridge.up(&handle).await?;
        refuse(&handle, &refused).await?;
        bridge.configure(&handle, &interface).await
    })
    .await
}

/// Makes a node's namespace and its cable, the far end of which goes to the sandbox's namespace.
async fn raise_node(node: &Node, mtu: Option<u32>) -> Result<(), NetError> {
    let path = namespace_of(&node.name);
    if !exists(&path).await? {
        create(&path).await?;
    }
    let port = port_name(&node.name);
    let looked_for = port.clone();
    let plugged = converse(None, move |handle| async move {
        Ok(Link::find(&handle, &looked_for).await?.is_some())
    })
    .await?;
    let (sandbox, mac, name) = (own()?, node.mac, node.name.clone());
    let machine = node.machine.is_some();
    converse(Some(path), move |handle| async move {
        let operation = || format!("make the cable of {name}");
        match machine {
            true => sysctl::machine()?,
            false => sysctl::node()?,
        }
        Link::expect(&handle, "lo").await?.up(&handle).await?;
        match Link::find(&handle, CABLE).await? {
            Some(_) if plugged => return Ok(()),
            // Interrupted before its far end was moved.
            Some(cable) => cable.remove(&handle).await?,
            None => {}
        }
        let mut cable = LinkVeth::new(CABLE, &port).address(mac.to_vec());
        if let Some(mtu) = mtu {
            cable = cable.mtu(mtu);
        }
        handle
            .link()
            .add(cable.build())
            .execute()
            .await
            .during(operation)?;
        let far = Link::expect(&handle, &port).await?;
        let mut moved = LinkUnspec::new_with_index(far.index).setns_by_fd(sandbox.as_raw_fd());
        if let Some(mtu) = mtu {
            moved = moved.mtu(mtu);
        }
        handle
            .link()
            .set(moved.build())
            .execute()
            .await
            .during(operation)?;
        Link::expect(&handle, CABLE).await?.up(&handle).await
    })
    .await
}

async fn plug_in(network: &Network) -> Result<(), NetError> {
    let bridge = network.bridge.clone();
    let ports: Vec<String> = network
        .nodes
        .iter()
        .map(|node| port_name(&node.name))
        .collect();
    converse(None, move |handle| async move {
        let bridge = Link::expect(&handle, &bridge).await?;
        for port in ports {
            let port = Link::expect(&handle, &port).await?;
            if port.controller != Some(bridge.index) {
                port.plug(&handle, bridge.index).await?;
            }
        }
        Ok(())
    })
    .await
}

async fn configure_node(node: &Node) -> Result<(), NetError> {
    let (interface, machine) = (node.interface.clone(), node.machine);
    converse(Some(namespace_of(&node.name)), move |handle| async move {
        let cable = Link::expect(&handle, CABLE).await?;
        if let Some(owner) = machine {
            raise_machine(&handle, &cable, owner).await?;
        }
        cable.configure(&handle, &interface).await
    })
    .await
}

/// The tap interface of a machine, and the bridge by which its frames come to the cable.
async fn raise_machine(handle: &Handle, cable: &Link, owner: u32) -> Result<(), NetError> {
    if Link::find(handle, INNER).await?.is_none() {
        let bridge = LinkBridge::new(INNER).mcast_snooping(false);
        let made = handle.link().add(bridge.build()).execute().await;
        made.during(|| format!("make the bridge {INNER}"))?;
    }
    let inner = Link::expect(handle, INNER).await?;
    if Link::find(handle, TAP).await?.is_none() {
        drop(vial_sys::tap::make(TAP, owner)?);
    }
    let tap = Link::expect(handle, TAP).await?;
    for port in [cable, &tap] {
        if port.controller != Some(inner.index) {
            port.plug(handle, inner.index).await?;
        }
    }
    tap.up(handle).await?;
    inner.up(handle).await
}

/// Brings one interface of the caller's own network namespace, which is a machine's, to what is wanted; forwards
/// between it and the pods like every node.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub async fn configure(name: &str, interface: Interface, mtu: Option<u32>) -> Result<(), NetError> {
    let name = name.to_owned();
    converse(None, move |handle| async move {
        sysctl::node()?;
        sysctl::no_dad(&name)?;
        Link::expect(&handle, "lo").await?.up(&handle).await?;
        let link = Link::expect(&handle, &name).await?;
        if let Some(mtu) = mtu {
            let message = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
            let set = handle.link().set(message).execute().await;
            set.during(|| format!("set the MTU of {name} to {mtu}"))?;
        }
        link.up(&handle).await?;
        link.configure(&handle, &interface).await
    })
    .await
}
