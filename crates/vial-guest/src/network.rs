//! The machine's interfaces, raised as those of every node.

use vial_net::wish;
use vial_sys::{During as _, SysError};

use crate::spec::{Interface, MachineSpec};

/// Raises all.
pub(crate) fn raise(spec: &MachineSpec) -> Result<(), SysError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .during(|| "start a runtime".to_owned())?;
    let names = spec.interfaces.iter();
    let names = names.map(|one| (one.mac, one.name.clone())).collect();
    let failed = |error: vial_net::NetError| SysError {
        operation: error.operation,
        source: error.source,
    };
    runtime.block_on(vial_net::rename(names)).map_err(failed)?;
    for interface in &spec.interfaces {
        let configured = vial_net::configure(&interface.name, wish(interface), interface.mtu);
        runtime.block_on(configured).map_err(failed)?;
    }
    Ok(())
}

fn wish(interface: &Interface) -> wish::Interface {
    let routes = interface.routes.iter().map(|route| wish::Route {
        destination: route.destination.trunc(),
        gateway: route.gateway,
    });
    wish::Interface {
        addresses: interface.addresses.clone(),
        routes: routes.collect(),
    }
}
