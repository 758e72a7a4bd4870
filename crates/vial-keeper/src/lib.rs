//! The service process of one cluster: API socket, supervision, DNS, forwards
