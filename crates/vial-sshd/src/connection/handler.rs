//! What russh reports about a connection, in the order of the protocol (RFC 4252, RFC 4254).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use russh::keys::{Algorithm, Certificate};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};

use super::{Client, Connection, answer};
use crate::auth;
use crate::forward::agent::AgentSocket;
use crate::forward::direct::Target;
use crate::inbound::Input;
use crate::session::{self, Wanted};
use crate::terminal::{self, Terminal};

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
