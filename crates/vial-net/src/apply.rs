//! Brings a sandbox's network to the wanted state, whatever it was before.
//!
//! ```text
//! sandbox's namespace:  bridge ── v-w-1 ─┐ veth
//! /run/netns/w-1:                  eth0 ─┘
//!
//! /run/netns/w-2, a machine's:     eth0 ── inner (a bridge) ── tap0 ── QEMU
//!                                  wire-tap1 ── in-tap1 ─────── tap1 ── QEMU    its other end: v-w-2.tap1, on another bridge
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
use crate::wish::{Interface, Network, Node, TAP, Tap, mac_of, port_name};

/// Where the network namespaces of nodes are bound, as ip-netns(8) has it.
pub const NETNS: &str = "/run/netns";

/// The interface of a node.
const CABLE: &str = "eth0";
/// The bridge between a machine and its node's cable.
const INNER: &str = "inner";
/// How many taps beside the first a machine may ever have had.
const TAPS: usize = 10;

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
    try_join_all(network.nodes.iter().flat_map(|node| {
        let taps = node.taps.iter();
        taps.map(|tap| raise_tap(node, tap, network.mtu))
    }))
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
        let taps = (1..=TAPS).map(|number| tap_port(&name, &format!("tap{number}")));
        let ports: Vec<String> = [port_name(&name)].into_iter().chain(taps).collect();
        converse(None, move |handle| async move {
            for port in ports {
                if let Some(link) = Link::find(&handle, &port).await? {
                    link.remove(&handle).await?;
                }
            }
            Ok(())
        })
        .await?;
        forget(&namespace_of(&name))?;
    }
    Ok(())
}

/// The interface in the sandbox that is the end of a machine's further cable.
fn tap_port(node: &str, tap: &str) -> String {
    port_name(&format!("{node}.{tap}"))
}

async fn raise_bridge(network: &Network) -> Result<(), NetError> {
    let (name, mtu, interface) = (
        network.bridge.clone(),
        network.mtu,
        network.interface.clone(),
    );
    let refused = network.refused.clone();
    let taps = network.nodes.iter().flat_map(|node| &node.taps);
    let others: BTreeSet<String> = taps
        .map(|tap| tap.bridge.clone())
        .filter(|bridge| *bridge != name)
        .collect();
    converse(None, move |handle| async move {
        sysctl::sandbox()?;
        Link::expect(&handle, "lo").await?.up(&handle).await?;
        let bridge = make_bridge(&handle, &name, mtu).await?;
        for other in others {
            make_bridge(&handle, &other, mtu).await?.up(&handle).await?;
        }
        bridge.up(&handle).await?;
        refuse(&handle, &refused).await?;
        bridge.configure(&handle, &interface).await
    })
    .await
}

async fn make_bridge(handle: &Handle, name: &str, mtu: Option<u32>) -> Result<Link, NetError> {
    if Link::find(handle, name).await?.is_none() {
        // A hardware address of its own: else it takes the lowest one of its ports and changes with them.
        let mut bridge = LinkBridge::new(name)
            .address(mac_of(name).to_vec())
            .mcast_snooping(false);
        if let Some(mtu) = mtu {
            bridge = bridge.mtu(mtu);
        }
        let made = handle.link().add(bridge.build()).execute().await;
        made.during(|| format!("make the bridge {name}"))?;
    }
    Link::expect(handle, name).await
}

/// Makes a node's namespace and its cable.
async fn raise_node(node: &Node, mtu: Option<u32>) -> Result<(), NetError> {
    let path = namespace_of(&node.name);
    if !exists(&path).await? {
        create(&path).await?;
    }
    let machine = node.machine.is_some();
    converse(Some(path), move |handle| async move {
        match machine {
            true => sysctl::machine()?,
            false => sysctl::node()?,
        }
        Link::expect(&handle, "lo").await?.up(&handle).await
    })
    .await?;
    lay_cable(node, CABLE, port_name(&node.name), node.mac, mtu).await
}

/// Lays a cable between a node's namespace, where its end is called `name`, and the sandbox's, where it is called `port`.
async fn lay_cable(
    node: &Node,
    name: &str,
    port: String,
    mac: [u8; 6],
    mtu: Option<u32>,
) -> Result<(), NetError> {
    let looked_for = port.clone();
    let plugged = converse(None, move |handle| async move {
        Ok(Link::find(&handle, &looked_for).await?.is_some())
    })
    .await?;
    let (sandbox, cable, node) = (own()?, name.to_owned(), node.name.clone());
    converse(Some(namespace_of(&node)), move |handle| async move {
        let operation = || format!("make the cable {cable} of {node}");
        match Link::find(&handle, &cable).await? {
            Some(_) if plugged => return Ok(()),
            // Interrupted before its far end was moved.
            Some(cable) => cable.remove(&handle).await?,
            None => {}
        }
        let mut pair = LinkVeth::new(&cable, &port).address(mac.to_vec());
        if let Some(mtu) = mtu {
            pair = pair.mtu(mtu);
        }
        let made = handle.link().add(pair.build()).execute().await;
        made.during(operation)?;
        let far = Link::expect(&handle, &port).await?;
        let mut moved = LinkUnspec::new_with_index(far.index).setns_by_fd(sandbox.as_raw_fd());
        if let Some(mtu) = mtu {
            moved = moved.mtu(mtu);
        }
        let done = handle.link().set(moved.build()).execute().await;
        done.during(operation)?;
        Link::expect(&handle, &cable).await?.up(&handle).await
    })
    .await
}

/// Makes a further tap of a machine, with a cable and a bridge of its own.
async fn raise_tap(node: &Node, tap: &Tap, mtu: Option<u32>) -> Result<(), NetError> {
    let Some(owner) = node.machine else {
        return Ok(());
    };
    let (cable, inner) = (format!("wire-{}", tap.name), format!("in-{}", tap.name));
    let mac = mac_of(&format!("{}.{}", node.name, cable));
    lay_cable(node, &cable, tap_port(&node.name, &tap.name), mac, mtu).await?;
    let name = tap.name.clone();
    converse(Some(namespace_of(&node.name)), move |handle| async move {
        let cable = Link::expect(&handle, &cable).await?;
        raise_machine(&handle, &cable, &inner, &name, owner).await
    })
    .await
}

async fn plug_in(network: &Network) -> Result<(), NetError> {
    let first = |node: &Node| (port_name(&node.name), network.bridge.clone());
    let further = network.nodes.iter().flat_map(|node| {
        let taps = node.taps.iter();
        taps.map(|tap| (tap_port(&node.name, &tap.name), tap.bridge.clone()))
    });
    let ports: Vec<_> = network.nodes.iter().map(first).chain(further).collect();
    converse(None, move |handle| async move {
        for (port, bridge) in ports {
            let bridge = Link::expect(&handle, &bridge).await?;
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
            raise_machine(&handle, &cable, INNER, TAP, owner).await?;
        }
        cable.configure(&handle, &interface).await
    })
    .await
}

/// A tap interface of a machine, and the bridge by which its frames come to the cable.
async fn raise_machine(
    handle: &Handle,
    cable: &Link,
    inner: &str,
    tap: &str,
    owner: u32,
) -> Result<(), NetError> {
    if Link::find(handle, inner).await?.is_none() {
        let bridge = LinkBridge::new(inner).mcast_snooping(false);
        let made = handle.link().add(bridge.build()).execute().await;
        made.during(|| format!("make the bridge {inner}"))?;
    }
    let inner = Link::expect(handle, inner).await?;
    if Link::find(handle, tap).await?.is_none() {
        drop(vial_sys::tap::make(tap, owner)?);
    }
    let tap = Link::expect(handle, tap).await?;
    for port in [cable, &tap] {
        if port.controller != Some(inner.index) {
            port.plug(handle, inner.index).await?;
        }
    }
    tap.up(handle).await?;
    inner.up(handle).await
}

/// Calls the interfaces of the caller's own network namespace as they are to be called: pairs of a hardware address and a
/// name. A kernel numbers them in the order in which their drivers find them.
///
/// # Errors
/// When there is none with such an address, or the kernel refuses.
pub async fn rename(wanted: Vec<([u8; 6], String)>) -> Result<(), NetError> {
    converse(None, move |handle| async move {
        let mut links = Vec::new();
        for (mac, name) in wanted {
            let link = Link::with_address(&handle, mac, &name).await?;
            if link.name != name {
                links.push((link, name));
            }
        }
        // First out of each other's way.
        for (number, (link, _)) in links.iter().enumerate() {
            link.rename(&handle, &format!("renamed{number}")).await?;
        }
        for (link, name) in &links {
            link.rename(&handle, name).await?;
        }
        Ok(())
    })
    .await
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
