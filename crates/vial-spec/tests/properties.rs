//! What holds for any text and any file, not only for those somebody thought of.

use proptest::prelude::*;
use serde_json::json;
use vial_spec::file::{
    CidrList, ComponentEntry, DiskEntry, DnsEntry, EtcdEntry, FileEntry, FullTaint, InlineManifest,
    MachineEntry, ManifestEntry, MountEntry, NetworkEntry, NicEntry, NodeEntry, NumaEntry, Scalar,
    TaintEntry, WorkerGroup, Workers,
};
use vial_spec::size::Size;
use vial_spec::{
    Bus, Cni, DiskCache, DiskFormat, Driver, File, IpFamily, NicModel, Overrides, PageSize, Restart,
};

/// Text as nasty as YAML may hold it: quotes, colons, line breaks, words that look like other types.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "[a-z]{1,8}",
        Just("null".to_owned()),
        Just("~".to_owned()),
        Just("yes".to_owned()),
        Just("0x1F".to_owned()),
        Just("1.10".to_owned()),
        Just("- a\n- b\n".to_owned()),
        Just("  indented\nlines: here\n\n".to_owned()),
        Just("#!/bin/sh\necho \"$@\"\n".to_owned()),
        Just("ünï: cödé".to_owned()),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    text().prop_map(Scalar)
}

fn map<V: Strategy>(
    value: V,
) -> impl Strategy<Value = std::collections::BTreeMap<String, V::Value>> {
    prop::collection::btree_map("[a-z][a-z0-9./-]{0,10}", value, 0..3)
}

prop_compose! {
    fn component()(
        args in map(prop::option::of(scalar())),
        env in map(scalar()),
        configured in any::<bool>(),
        config in text(),
    ) -> ComponentEntry {
        let value = json!({"a": config, "b": {"c": [1, 2.5, null, true]}});
        let config = if configured { value.as_object().cloned().unwrap_or_default() } else { Default::default() };
        ComponentEntry { args, env, config }
    }
}

fn taint() -> impl Strategy<Value = TaintEntry> {
    prop_oneof![
        text().prop_map(TaintEntry::Text),
        (text(), prop::option::of(scalar()), text())
            .prop_map(|(key, value, effect)| TaintEntry::Full(FullTaint { key, value, effect })),
    ]
}

prop_compose! {
    fn part()(cpus in any::<u32>(), memory in any::<u64>(), distances in prop::collection::vec(any::<u8>(), 0..3)) -> NumaEntry {
        NumaEntry { cpus, memory: Size::from_bytes(memory), distances }
    }
}

prop_compose! {
    fn disk()(
        name in text(),
        bus in prop_oneof![Just(Bus::Virtio), Just(Bus::Nvme), Just(Bus::Scsi), Just(Bus::Usb)],
        size in prop::option::of(any::<u64>()),
        file in prop::option::of(text()),
        format in prop::option::of(prop_oneof![Just(DiskFormat::Raw), Just(DiskFormat::Qcow2)]),
        (shared, read_only) in any::<(bool, bool)>(),
    ) -> DiskEntry {
        DiskEntry { name, bus, size: size.map(Size::from_bytes), file: file.map(Into::into), format, shared, read_only }
    }
}

prop_compose! {
    fn nic()(
        network in text(),
        model in prop_oneof![Just(NicModel::Virtio), Just(NicModel::E1000)],
        mac in prop::option::of(text()),
        addresses in prop::collection::vec(text(), 0..3),
    ) -> NicEntry {
        NicEntry { network, model, mac, addresses }
    }
}

prop_compose! {
    fn machine()(
        cpus in prop::option::of(any::<u32>()),
        (memory, disk) in (prop::option::of(any::<u64>()), prop::option::of(any::<u64>())),
        disk_cache in prop::option::of(prop_oneof![Just(DiskCache::Safe), Just(DiskCache::Unsafe)]),
        (kernel_args, modules, qemu_args) in (
            prop::collection::vec(text(), 0..3), prop::collection::vec(text(), 0..3), prop::collection::vec(text(), 0..3)),
        sysctls in map(scalar()),
        (ephemeral, display, swap) in (
            prop::option::of(any::<bool>()), prop::option::of(any::<bool>()), prop::option::of(any::<u64>())),
        huge_pages in prop::collection::btree_map(
            prop_oneof![Just(PageSize::TwoMi), Just(PageSize::OneGi)], any::<u64>().prop_map(Size::from_bytes), 0..3),
        (numa, disks, nics) in (
            prop::collection::vec(part(), 0..3), prop::collection::vec(disk(), 0..3), prop::collection::vec(nic(), 0..3)),
        (kernel, kernel_modules) in (prop::option::of(text()), prop::option::of(text())),
        restart in prop::option::of(prop_oneof![Just(Restart::Always), Just(Restart::Never)]),
    ) -> MachineEntry {
        let (memory, disk) = (memory.map(Size::from_bytes), disk.map(Size::from_bytes));
        let swap = swap.map(Size::from_bytes);
        let (kernel, kernel_modules) = (kernel.map(Into::into), kernel_modules.map(Into::into));
        MachineEntry {
            cpus, memory, disk, disk_cache, ephemeral, swap, numa, huge_pages, disks, nics, kernel, kernel_modules,
            kernel_args, modules, sysctls, display, qemu_args, restart,
        }
    }
}

fn driver() -> impl Strategy<Value = Driver> {
    prop_oneof![Just(Driver::Container), Just(Driver::Vm)]
}

prop_compose! {
    fn node()(
        labels in map(scalar()),
        taints in prop::option::of(prop::collection::vec(taint(), 0..3)),
        (driver, vm) in (prop::option::of(driver()), prop::option::of(machine())),
        mounts in prop::collection::vec((text(), text(), any::<bool>()), 0..3),
        files in prop::collection::vec(
            (text(), prop::option::of(text()), prop::option::of(text()), prop::option::of("0[0-7]{3}")), 0..3),
        components in map(component()),
    ) -> NodeEntry {
        let mount = |(host_path, node_path, read_only)| MountEntry { host_path, node_path, read_only };
        let file = |(path, content, source, mode)| FileEntry { path, content, source, mode };
        NodeEntry {
            labels,
            taints,
            driver,
            vm,
            mounts: mounts.into_iter().map(mount).collect(),
            files: files.into_iter().map(file).collect(),
            components,
        }
    }
}

fn workers() -> impl Strategy<Value = Workers> {
    prop_oneof![
        any::<u64>().prop_map(Workers::Count),
        (prop::option::of(any::<u64>()), node()).prop_map(|(count, node)| {
            let NodeEntry {
                labels,
                taints,
                driver,
                vm,
                mounts,
                files,
                components,
            } = node;
            Workers::Group(Box::new(WorkerGroup {
                count,
                labels,
                taints,
                driver,
                vm,
                mounts,
                files,
                components,
            }))
        }),
    ]
}

fn cidrs() -> impl Strategy<Value = CidrList> {
    prop_oneof![
        text().prop_map(CidrList::Text),
        prop::collection::vec(text(), 0..3).prop_map(CidrList::List),
        Just(CidrList::Text("10.0.0.0/16,fd01::/48".into())),
    ]
}

prop_compose! {
    fn network()(
        pod_cidr in prop::option::of(cidrs()),
        service_cidr in prop::option::of(cidrs()),
        cni in prop::option::of(prop_oneof![Just(Cni::Bridge), Just(Cni::None)]),
        upstreams in prop::collection::vec(text(), 0..3),
    ) -> NetworkEntry {
        NetworkEntry { pod_cidr, service_cidr, cni, dns: DnsEntry { upstreams } }
    }
}

fn manifest() -> impl Strategy<Value = ManifestEntry> {
    prop_oneof![
        text().prop_map(ManifestEntry::Path),
        (prop::option::of(text()), text())
            .prop_map(|(name, content)| ManifestEntry::Inline(InlineManifest { name, content })),
    ]
}

prop_compose! {
    fn file()(
        (name, kubernetes, node_image) in
            (prop::option::of(text()), prop::option::of(text()), prop::option::of(text())),
        ip_family in prop::option::of(prop_oneof![Just(IpFamily::Ipv4), Just(IpFamily::Ipv6), Just(IpFamily::Dual)]),
        network in network(),
        feature_gates in map(any::<bool>()),
        components in map(component()),
        control_plane in node(),
        workers in prop::option::of(workers()),
        (nodes, vm_workers) in (map(node()), prop::option::of(any::<u64>())),
        manifests in prop::collection::vec(manifest(), 0..3),
        fsync in any::<bool>(),
    ) -> File {
        let mut file = File::default();
        (file.name, file.kubernetes, file.node_image) = (name, kubernetes, node_image);
        (file.ip_family, file.network, file.feature_gates) = (ip_family, network, feature_gates);
        (file.components, file.control_plane, file.workers) = (components, control_plane, workers);
        file.vm_workers = vm_workers;
        (file.nodes, file.manifests, file.etcd) = (nodes, manifests, EtcdEntry { fsync });
        file
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_is_written_is_read_back(file in file()) {
        let text = serde_saphyr::to_string(&file).unwrap();
        match File::parse(&text, "vial.yaml") {
            Ok(read) => prop_assert_eq!(read, file, "{}", text),
            Err(error) => prop_assert!(false, "{error}\n{text}"),
        }
    }

    #[test]
    fn any_file_is_a_cluster_or_has_problems_in_the_file(file in file()) {
        let text = serde_saphyr::to_string(&file).unwrap();
        let file = File::parse(&text, "vial.yaml").unwrap();
        let lines = text.lines().count() as u64;
        if let Err(errors) = file.validate(&Overrides::default(), &|_| Ok(String::new())) {
            prop_assert!(!errors.problems.is_empty());
            for problem in errors.problems {
                let (line, column) = problem.position.unwrap_or((1, 1));
                prop_assert!((1..=lines).contains(&line) && column >= 1, "{problem:?}");
                prop_assert!(!problem.message.is_empty());
            }
        }
    }

    #[test]
    fn any_text_is_a_file_or_has_an_error_in_the_text(text in any::<String>()) {
        if let Err(error) = File::parse(&text, "vial.yaml") {
            prop_assert!(error.to_string().starts_with("vial.yaml:"));
        }
    }

    #[test]
    fn any_text_like_yaml_may_be_read(text in r#"(apiVersion: vial/v1\nkind: Cluster\n)?([a-zA-Z]{1,9}:?[ \n]|[-{}\[\],&*!|>'"%@`#?~0-9]|  |\n){0,40}"#) {
        let _ = File::parse(&text, "vial.yaml");
    }
}
