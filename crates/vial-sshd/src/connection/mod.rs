//! One client's connection: what russh reports, handed to whoever it concerns.
//!
//! ```text
//!  accepted ──► keys exchanged ──► keys offered (auth) ──► logged in ──► channels: sessions, forwarded sockets ──► gone
//!     └ login grace, startups: the server's ┘                 └ everything of it ends with the connection
//! ```
//! Nothing here waits but where [`crate::inbound`] says so: a callback that waits holds up all channels of the
//! connection.

mod handler;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use russh::server::{Auth, ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId};

use crate::auth::{Grant, Refusal};
use crate::forward::direct::{self, Target};
use crate::forward::remote::Listeners;
use crate::inbound::Channels;
use crate::session::{self, Login, Wanted};
use crate::site::Site;

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
