//! One client's connection: what russh reports, handed to whoever it concerns.
//!
//! ```text
//!  accepted ──► keys exchanged ──► keys offered (auth) ──► logged in ──► channels: sessions, forwarded sockets ──► gone
//!     └ login grace, startups: the server's ┘                 └ everything of it ends with the connection
//! ```
//! Nothing here waits but where [`crate::inbound`] says so: a callback that waits holds up all channels of the
//! connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use russh::keys::{Algorithm, Certificate};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};

use crate::auth::{self, Grant, Refusal};
use crate::forward::agent::AgentSocket;
use crate::forward::direct::{self, Target};
use crate::forward::remote::Listeners;
use crate::inbound::{Channels, Input};
use crate::session::{self, Login, Wanted};
use crate::site::Site;
use crate::terminal::{self, Terminal};

/// Somebody who is logged in, for those who open channels to them.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Where they reached the server.
    pub(crate) server: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) channels: Arc<Channels>,
}

/// Whether a client is logged in, for the server, which ends connections that never get so far.
pub(crate) type Admitted = Arc<AtomicBool>;

/// The state of one connection.
pub(crate) struct Connection {
    site: Arc<Site>,
    address: SocketAddr,
    server: SocketAddr,
    admitted: Admitted,
    /// Gives way to the next client when this one is logged in.
    startup: Option<tokio::sync::OwnedSemaphorePermit>,
    channels: Arc<Channels>,
    login: Option<Login>,
    client: Option<Arc<Client>>,
    /// The last failure, for the log: who and why.
    refused: Option<(String, String)>,
    sessions: HashMap<ChannelId, session::Session>,
    listeners: Listeners,
}

impl Connection {
    pub(crate) fn new(
        site: Arc<Site>,
        address: SocketAddr,
        server: SocketAddr,
        startup: tokio::sync::OwnedSemaphorePermit,
    ) -> (Self, Admitted) {
        let admitted = Admitted::default();
        let connection = Self {
            site,
            address,
            server,
            admitted: admitted.clone(),
            startup: Some(startup),
            channels: Arc::default(),
            login: None,
            client: None,
            refused: None,
            sessions: HashMap::new(),
            listeners: Listeners::default(),
        };
        (connection, admitted)
    }

    /// Lets a login in, or notes why not.
    fn decide(&mut self, user: &str, key: &str, grant: Result<Grant, Refusal>) -> Auth {
        let account = self.site.accounts.find(user);
        match (grant, account) {
            (Ok(grant), Some(account)) => {
                self.login = Some(Login { account, grant });
                Auth::Accept
            }
            (Ok(_), None) => self.refuse(user, format!("{key}: nobody of this name may log in")),
            (Err(refusal), _) => self.refuse(user, format!("{key}: {refusal}")),
        }
    }

    fn refuse(&mut self, user: &str, why: String) -> Auth {
        self.refused = Some((user.to_owned(), why));
        Auth::reject()
    }

    fn logged_in(&self) -> Result<(Arc<Client>, &Login), russh::Error> {
        // russh calls what needs a login only after one.
        let client = self.client.clone().ok_or(russh::Error::NotAuthenticated)?;
        let login = self.login.as_ref().ok_or(russh::Error::NotAuthenticated)?;
        Ok((client, login))
    }

    fn start(
        &mut self,
        id: ChannelId,
        wanted: Wanted,
        reply: &mut Session,
    ) -> Result<(), russh::Error> {
        let (client, login) = self.logged_in()?;
        let login = login.clone();
        let ends = self.channels.adopt(id);
        let good = self
            .sessions
            .get_mut(&id)
            .is_some_and(|session| session.start(&self.site, &client, &login, wanted, ends));
        answer(reply, id, good)
    }

    /// Opens a connection for the client, when it may.
    fn connect(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, target: Target) {
        let id = channel.id();
        let allowed = self
            .login
            .as_ref()
            .is_some_and(|login| login.grant.forwarding);
        if !allowed || !self.channels.open(id) {
            // Dropped, the handle says that it is prohibited.
            return;
        }
        let (read, write) = channel.split();
        drop(read);
        if let Some(ends) = self.channels.adopt(id) {
            let (site, channels) = (self.site.clone(), self.channels.clone());
            tokio::spawn(async move {
                direct::serve(site, target, reply, ends, write).await;
                // One that was refused has no end that russh would report.
                channels.close(id);
            });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Who reads the line below finds nothing of it any more, but for what still takes what was sent.
        self.channels.close_all();
        self.listeners = Listeners::default();
        let address = (self.address.ip().to_canonical(), self.address.port());
        match (&self.login, &self.refused) {
            (Some(login), _) if self.client.is_some() => {
                tracing::info!(
                    "logout of {} from {} port {}",
                    login.account.name,
                    address.0,
                    address.1
                );
            }
            (_, Some((user, why))) => {
                tracing::info!(
                    "no login as {user:?} from {} port {}: {why}",
                    address.0,
                    address.1
                );
            }
            // Nobody tried: a probe of the port, or something that does not speak ssh.
            _ => tracing::debug!("nobody logged in from {} port {}", address.0, address.1),
        }
    }
}

/// Tells the client whether a channel request was good.
fn answer(reply: &mut Session, id: ChannelId, good: bool) -> Result<(), russh::Error> {
    if good {
        reply.channel_success(id)
    } else {
        reply.channel_failure(id)
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let key = auth::fingerprint(offer.public_key);
        if *offer.algorithm == (Algorithm::Rsa { hash: None }) {
            return Ok(self.refuse(user, format!("{key}: it is used with SHA-1")));
        }
        if self.site.authorities.knows_certificates() {
            return Ok(Auth::Accept);
        }
        let grant = self
            .site
            .authorities
            .key(offer.public_key, self.address.ip().to_canonical());
        let auth = self.decide(user, &key, grant);
        // Not before it has signed.
        self.login = None;
        Ok(auth)
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let name = auth::fingerprint(key.public_key);
        let grant = self
            .site
            .authorities
            .key(key.public_key, self.address.ip().to_canonical());
        Ok(self.decide(user, &name, grant))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let name = format!("certificate {:?}", certificate.key_id());
        let client = self.address.ip().to_canonical();
        let grant = self.site.authorities.certificate(certificate, user, client);
        Ok(self.decide(user, &name, grant))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let Some(login) = &self.login else {
            return Err(russh::Error::NotAuthenticated);
        };
        tracing::info!(
            "login of {} from {} port {} with {}",
            login.account.name,
            self.address.ip().to_canonical(),
            self.address.port(),
            login.grant.key
        );
        self.client = Some(Arc::new(Client {
            address: self.address,
            server: self.server,
            handle: session.handle(),
            channels: self.channels.clone(),
        }));
        self.admitted.store(true, Ordering::Relaxed);
        self.startup = None;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let id = channel.id();
        if !self.channels.open(id) {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // The queue takes what arrives; the half that would take it too must not hold the connection up.
        let (read, write) = channel.split();
        drop(read);
        self.sessions.insert(id, session::Session::new(write));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match u16::try_from(port) {
            Ok(port) => self.connect(channel, reply, Target::Tcp(host.to_owned(), port)),
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.connect(channel, reply, Target::Unix(path.to_owned()));
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        // Before the client's first bytes can arrive. Those that this side opens are its own; they are not refused.
        self.channels.open(id);
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.sessions.remove(&id);
        self.channels.close(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.put(id, Input::End).await;
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let data = Bytes::copy_from_slice(data);
        self.channels.put(id, Input::Data(data)).await;
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, current: u32) -> u32 {
        self.channels.next_window(id, current)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        modes: &[(Pty, u32)],
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        let terminal = Terminal {
            name: term.to_owned(),
            size: terminal::size(columns, rows),
            modes: modes.to_vec(),
        };
        let grant = self.logged_in()?.1.grant.clone();
        let good = self
            .sessions
            .get_mut(&id)
            .is_some_and(|session| session.want_terminal(&grant, terminal));
        answer(reply, id, good)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        answer(reply, id, false)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        let grant = self.logged_in()?.1.grant.clone();
        let good = self
            .sessions
            .get_mut(&id)
            .is_some_and(|session| session.set(&grant, name, value));
        answer(reply, id, good)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Wanted::Shell, reply)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Wanted::command(command), reply)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        reply: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "sftp" {
            self.start(id, Wanted::Sftp, reply)
        } else {
            answer(reply, id, false)
        }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.resize(terminal::size(columns, rows));
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let grant = &self.logged_in()?.1.grant;
        if let Some(session) = self.sessions.get(&id) {
            session.signal(&self.site, grant, &signal);
        }
        Ok(())
    }

    async fn agent_request(&mut self, id: ChannelId, _: &mut Session) -> Result<bool, Self::Error> {
        let (client, login) = self.logged_in()?;
        let (account, allowed) = (login.account.clone(), login.grant.agent);
        let Some(session) = self.sessions.get_mut(&id).filter(|_| allowed) else {
            return Ok(false);
        };
        match AgentSocket::new(&client, &account) {
            Ok(agent) => {
                session.use_agent(agent);
                Ok(true)
            }
            Err(error) => {
                tracing::warn!("cannot forward the agent of {}: {error}", account.name);
                Ok(false)
            }
        }
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (client, login) = self.logged_in()?;
        if !login.grant.forwarding {
            return Ok(false);
        }
        match self.listeners.listen(&client, address, *port).await {
            Ok(chosen) => {
                *port = chosen;
                Ok(true)
            }
            Err(error) => {
                tracing::debug!("cannot listen on {address:?} port {port}: {error}");
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.listeners.cancel(address, port))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (client, login) = self.logged_in()?;
        let (account, allowed) = (login.account.clone(), login.grant.forwarding);
        if !allowed {
            return Ok(false);
        }
        let listening = self.listeners.listen_unix(&client, &account, path);
        if let Err(error) = &listening {
            tracing::debug!("cannot listen on {path}: {error}");
        }
        Ok(listening.is_ok())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.listeners.cancel_unix(path))
    }
}
