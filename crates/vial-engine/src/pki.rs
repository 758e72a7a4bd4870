//! A cluster's keys on disk: made once, read ever after, 0600.
//!
//! ```text
//! clusters/NAME/pki/
//!   ca.crt ca.key  etcd-ca.*  front-proxy-ca.*      authorities
//!   sa.key sa.pub                                   service-account tokens
//!   leaves/NODE/NAME.crt .key                       certificates, made again when what they say changes
//!   ssh/                                            host keys by node, known_hosts of them all, the person's own pair
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vial_pki::{
    Access, Authority, CertificateRequest, KeyPair, San, ServiceAccountKeys, Usage, ssh,
};

use crate::paths::private_dir;
use crate::plan::{Ca, Content, LeafPlan, Plan};
use crate::record::write_private;
use crate::{Error, Result};

/// What a cluster is called in the kubeconfigs of its own components: the same in every cluster, since what was frozen as
/// one may be thawed as another.
const INSIDE: &str = "vial";

/// All keys of one cluster, in memory.
pub struct ClusterPki {
    dir: PathBuf,
    cluster: String,
    authorities: BTreeMap<Ca, Authority>,
    service_accounts: (String, String),
    authorized_key: String,
    leaves: BTreeMap<String, KeyPair>,
    host_keys: BTreeMap<String, String>,
}

impl ClusterPki {
    /// Reads the keys below `dir` and makes those that are missing, for everything that `plan` names.
    ///
    /// # Errors
    /// When a key cannot be read, made or written.
    pub fn open(dir: &Path, plan: &Plan) -> Result<Self> {
        let cluster = plan.spec.name.clone();
        let mut authorities = BTreeMap::new();
        for ca in [Ca::Cluster, Ca::Etcd, Ca::FrontProxy] {
            authorities.insert(ca, authority(dir, ca, &cluster)?);
        }
        let mut pki = Self {
            service_accounts: service_accounts(dir)?,
            authorized_key: user_key(dir, &cluster)?,
            dir: dir.to_path_buf(),
            cluster,
            authorities,
            leaves: BTreeMap::new(),
            host_keys: BTreeMap::new(),
        };
        for (name, leaf) in &plan.leaves {
            let pair = pki.leaf(name, leaf)?;
            pki.leaves.insert(name.clone(), pair);
        }
        for node in &plan.nodes {
            let key = pki.host_key(&node.config.name)?;
            pki.host_keys.insert(node.config.name.clone(), key);
        }
        pki.known_hosts(plan)?;
        Ok(pki)
    }

    /// The bytes of a planned file.
    ///
    /// # Errors
    /// When the plan names a certificate it does not list, which is a mistake in the planner.
    pub fn render(&self, content: &Content) -> Result<String> {
        Ok(match content {
            Content::Text(text) => text.clone(),
            Content::CaCertificate(ca) => self.authority(*ca)?.certificate_pem().to_owned(),
            Content::CaKey(ca) => self.authority(*ca)?.key_pem(),
            Content::Certificate(leaf) => self.pair(leaf)?.certificate_pem.clone(),
            Content::Key(leaf) => self.pair(leaf)?.key_pem.clone(),
            Content::ServiceAccountKey => self.service_accounts.0.clone(),
            Content::ServiceAccountPublicKey => self.service_accounts.1.clone(),
            Content::Kubeconfig { leaf, server } => self.kubeconfig(leaf, server, INSIDE)?,
            Content::SshHostKey(node) => self
                .host_keys
                .get(node)
                .cloned()
                .ok_or_else(|| unplanned(&format!("ssh host key of {node}")))?,
            Content::SshAuthorizedKey => self.authorized_key.clone(),
        })
    }

    /// A kubeconfig with the certificate `leaf`; cluster, user and context are all called `context`.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub fn kubeconfig(&self, leaf: &str, server: &str, context: &str) -> Result<String> {
        let pair = self.pair(leaf)?;
        Ok(vial_pki::kubeconfig(&Access {
            server,
            ca_pem: self.authority(Ca::Cluster)?.certificate_pem(),
            certificate_pem: &pair.certificate_pem,
            key_pem: &pair.key_pem,
            cluster: context,
            user: context,
            context,
        }))
    }

    /// The certificate of the cluster's authority, PEM.
    ///
    /// # Errors
    /// Never for an opened set of keys.
    pub fn ca_certificate(&self) -> Result<&str> {
        Ok(self.authority(Ca::Cluster)?.certificate_pem())
    }

    /// A certificate and its key.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub fn pair(&self, leaf: &str) -> Result<&KeyPair> {
        self.leaves.get(leaf).ok_or_else(|| unplanned(leaf))
    }

    fn authority(&self, ca: Ca) -> Result<&Authority> {
        self.authorities
            .get(&ca)
            .ok_or_else(|| unplanned(ca.stem()))
    }

    /// Reads a certificate, or issues it when it is missing or was made for another subject.
    fn leaf(&self, name: &str, leaf: &LeafPlan) -> Result<KeyPair> {
        let stem = self.dir.join("leaves").join(name);
        let [cert, key, made_for] =
            ["crt", "key", "for"].map(|extension| stem.with_extension(extension));
        let wanted = format!("{leaf:?}");
        if read(&made_for)?.is_some_and(|text| text == wanted)
            && let (Some(certificate_pem), Some(key_pem)) = (read(&cert)?, read(&key)?)
        {
            return Ok(KeyPair {
                certificate_pem,
                key_pem,
            });
        }
        let sans = leaf
            .dns_names
            .iter()
            .cloned()
            .map(San::Dns)
            .chain(leaf.addresses.iter().copied().map(San::Ip));
        let mut request = match (leaf.server, leaf.client) {
            (true, true) => CertificateRequest::peer(&leaf.common_name, sans),
            (true, false) => CertificateRequest::server(&leaf.common_name, sans),
            _ => CertificateRequest {
                usage: Usage::Client,
                ..CertificateRequest::client(&leaf.common_name, None)
            },
        };
        request.organizations.clone_from(&leaf.organizations);
        let pair = self
            .authority(leaf.ca)?
            .issue(&request)
            .map_err(make(format!("certificate {name}")))?;
        write(&cert, &pair.certificate_pem)?;
        write(&key, &pair.key_pem)?;
        write(&made_for, &wanted)?;
        Ok(pair)
    }

    /// Writes the public host keys of all nodes for ssh on the host, when they are not what they were.
    fn known_hosts(&self, plan: &Plan) -> Result<()> {
        let mut lines = String::new();
        for node in &plan.nodes {
            let node = &node.config.name;
            let public = self.dir.join("ssh").join(format!("host_{node}.pub"));
            if let Some(public) = read(&public)? {
                let name = format!("{node}.{}.vial", self.cluster);
                lines += &ssh::known_hosts_line(&public, &[&name]);
                lines.push('\n');
            }
        }
        let path = self.dir.join("ssh/known_hosts");
        match read(&path)? {
            Some(old) if old == lines => Ok(()),
            _ => write(&path, &lines),
        }
    }

    fn host_key(&self, node: &str) -> Result<String> {
        let path = self.dir.join("ssh").join(format!("host_{node}"));
        if let Some(private) = read(&path)? {
            return Ok(private);
        }
        let key = ssh::HostKey::generate(&format!("{node}.{}.vial", self.cluster))
            .map_err(make(format!("ssh host key of {node}")))?;
        write(&path.with_extension("pub"), &key.public)?;
        write(&path, &key.private)?;
        Ok(key.private)
    }
}

fn authority(dir: &Path, ca: Ca, cluster: &str) -> Result<Authority> {
    let stem = ca.stem();
    let (cert, key) = (
        dir.join(format!("{stem}.crt")),
        dir.join(format!("{stem}.key")),
    );
    if let (Some(cert), Some(key)) = (read(&cert)?, read(&key)?) {
        return Authority::from_pem(&cert, &key).map_err(make(format!("authority {stem}")));
    }
    let made = Authority::new(format!("vial {cluster} {stem}"))
        .map_err(make(format!("authority {stem}")))?;
    write(&cert, made.certificate_pem())?;
    write(&key, &made.key_pem())?;
    Ok(made)
}

fn service_accounts(dir: &Path) -> Result<(String, String)> {
    let (private, public) = (dir.join("sa.key"), dir.join("sa.pub"));
    if let (Some(private), Some(public)) = (read(&private)?, read(&public)?) {
        return Ok((private, public));
    }
    let keys = ServiceAccountKeys::generate().map_err(make("service-account keys".into()))?;
    write(&public, &keys.public_pem)?;
    write(&private, &keys.private_pem)?;
    Ok((keys.private_pem, keys.public_pem))
}

/// The key with which the person of this cluster logs in to nodes; its public line.
fn user_key(dir: &Path, cluster: &str) -> Result<String> {
    let private = dir.join("ssh/id_ed25519");
    let public = dir.join("ssh/id_ed25519.pub");
    if let (Some(_), Some(line)) = (read(&private)?, read(&public)?) {
        return Ok(line);
    }
    let key = ssh::UserKey::generate(&format!("vial-{cluster}")).map_err(make("ssh key".into()))?;
    write(&public, &key.public)?;
    write(&private, &key.private)?;
    Ok(key.public)
}

fn make(what: String) -> impl FnOnce(vial_pki::Error) -> Error {
    move |source| Error::Pki { what, source }
}

fn unplanned(what: &str) -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it is not part of the plan");
    Error::File {
        operation: "find the key for",
        path: what.into(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Removes the keys and certificates of a node that is gone from the directory `dir`; fine when there are none.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn forget_node(dir: &Path, node: &str) -> Result<()> {
    let gone = |result: std::io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    };
    let leaves = dir.join("leaves").join(node);
    gone(fs::remove_dir_all(&leaves), &leaves)?;
    for file in [format!("host_{node}"), format!("host_{node}.pub")] {
        let path = dir.join("ssh").join(file);
        gone(fs::remove_file(&path), &path)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        private_dir(dir).map_err(Error::file("make", dir))?;
    }
    write_private(path, text.as_bytes())
}
