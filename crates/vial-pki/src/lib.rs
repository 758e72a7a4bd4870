//! One CA per cluster, certificates of components and nodes, service-account and ssh keys, kubeconfigs
