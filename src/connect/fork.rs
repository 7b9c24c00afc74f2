//! Further sessions beside one: a copy for work that needs other settings, a new one in place of a lost one.

use std::sync::Arc;

use spark_connect_proto as proto;
use uuid::Uuid;

use super::client::{Client, Interrupt, request};
use crate::Result;

impl Client {
    /// Creates a second session on the same server, a copy of this one: its settings, temporary views and uploads.
    /// Later settings of the copy do not touch this session.
    ///
    /// Machine-learning models that this session holds on the server are not copied.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) before Spark 4.1; [`Error::Server`](crate::Error::Server);
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn fork(&self) -> Result<Client> {
        self.fork_as(&Uuid::new_v4()).await
    }

    /// As [`fork`](Self::fork), under an id that no session of this user has or had.
    pub(crate) async fn fork_as(&self, id: &Uuid) -> Result<Client> {
        self.version().require("copying a session", 4, 1)?;
        let id = id.to_string();
        let message = request!(self, CloneSessionRequest { new_session_id: Some(id.clone()) });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.clone_session(r).await })).await?;
        self.note_server_session(&answer.server_side_session_id);
        let fork = self.beside(id);
        fork.note_server_session(&answer.new_server_side_session_id);
        Ok(fork)
    }

    /// Creates a new session at the same address, with the settings made through this client, to continue after the
    /// server forgot the session or was restarted. Views, uploads and kept frames are lost.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server) for a setting that cannot be set;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn renewed(&self) -> Result<Client> {
        let renewed = self.beside(Uuid::new_v4().to_string());
        let set = self.settings().clone();
        let pairs: Vec<_> = set.into_iter().map(|(key, value)| proto::KeyValue { key, value: Some(value) }).collect();
        if !pairs.is_empty() {
            let set = proto::config_request::Set { pairs, ..Default::default() };
            renewed.config(proto::config_request::operation::OpType::Set(set)).await?;
        }
        Ok(renewed)
    }

    /// Interrupts the operations of another session of this user that carry a tag; returns their ids. A server may
    /// answer with none for a session that it does not know.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server); [`Error::Unreachable`](crate::Error::Unreachable).
    pub(crate) async fn interrupt_in(&self, session_id: &Uuid, tag: &str) -> Result<Vec<String>> {
        let other = Client(Arc::new(self.0.beside(session_id.to_string())));
        other.interrupt(Interrupt::Tag(tag.to_owned())).await
    }

    /// Releases another session of this user, with its uploads, if there is one.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server); [`Error::Unreachable`](crate::Error::Unreachable).
    pub(crate) async fn release_other(&self, session_id: &Uuid) -> Result<()> {
        Client(Arc::new(self.0.beside(session_id.to_string()))).release_session().await
    }

    /// Returns another session over the same connection.
    fn beside(&self, session_id: String) -> Client {
        let client = Client(Arc::new(self.0.beside(session_id)));
        client.keep_alive();
        client
    }
}
