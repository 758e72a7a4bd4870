//! Netlink and sockets inside other network namespaces
