//! Kubeconfig files: who talks to which API server, and how both prove who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// What a kubeconfig with one cluster, one user and one context says.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// `https://127.0.0.1:PORT`.
    pub server: &'a str,
    /// The CA of the server's certificate, PEM.
    pub ca_pem: &'a str,
    /// The client's certificate, PEM.
    pub certificate_pem: &'a str,
    /// The client's key, PEM.
    pub key_pem: &'a str,
    /// What the cluster is called in the file.
    pub cluster: &'a str,
    /// What the user is called in the file.
    pub user: &'a str,
    /// What the context is called in the file.
    pub context: &'a str,
}

/// Writes a kubeconfig as YAML, certificates and key inside, with its context as the current one.
#[must_use]
pub fn kubeconfig(access: &Access<'_>) -> String {
    let config = Config {
        api_version: "v1",
        kind: "Config",
        clusters: [Named {
            name: access.cluster,
            content: Content::Cluster {
                server: access.server,
                certificate_authority_data: STANDARD.encode(access.ca_pem),
            },
        }],
        users: [Named {
            name: access.user,
            content: Content::User {
                client_certificate_data: STANDARD.encode(access.certificate_pem),
                client_key_data: STANDARD.encode(access.key_pem),
            },
        }],
        contexts: [Named {
            name: access.context,
            content: Content::Context {
                cluster: access.cluster,
                user: access.user,
            },
        }],
        current_context: access.context,
    };
    // Long base64 stays on its own line, as kubectl writes it.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&config, options)
        .expect("plain structs of strings are always writable as YAML")
}

#[derive(Serialize)]
struct Config<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    clusters: [Named<'a>; 1],
    users: [Named<'a>; 1],
    contexts: [Named<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    #[serde(flatten)]
    content: Content<'a>,
}

/// The key beside `name` is the kind of thing: `cluster:`, `user:`, `context:`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase", rename_all_fields = "kebab-case")]
enum Content<'a> {
    Cluster {
        server: &'a str,
        certificate_authority_data: String,
    },
    User {
        client_certificate_data: String,
        client_key_data: String,
    },
    Context {
        cluster: &'a str,
        user: &'a str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_kubectl_reads() {
        let text = kubeconfig(&Access {
            server: "https://[::1]:6443",
            ca_pem: &"ca ".repeat(100),
            certificate_pem: "cert",
            key_pem: "key",
            cluster: "vial-dev",
            user: "vial-dev",
            context: "vial-dev",
        });
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "vial-dev", "cluster": {
                "server": "https://[::1]:6443", "certificate-authority-data": STANDARD.encode("ca ".repeat(100))}}],
            "users": [{"name": "vial-dev", "user": {
                "client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}}],
            "contexts": [{"name": "vial-dev", "context": {"cluster": "vial-dev", "user": "vial-dev"}}],
            "current-context": "vial-dev",
        });
        assert_eq!(value, expected, "{text}");
        let (server, data) = (
            text.find("server: ").unwrap(),
            text.find("certificate-authority-data: ").unwrap(),
        );
        assert!(server < data);
        assert!(!text.contains(">-"), "{text}");
    }
}
