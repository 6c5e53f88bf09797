//! A connection to a server of the cluster. Any fault ends it; the caller connects again when that is due.
//!
//! It trusts the server that TLS authenticates with acknowledgements; what messages have is not trusted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, ServerAddr,
    jetstream::{self, Context},
};
use aw_peer::{certificate_fault, guarded};
use aw_service::connection_fault;
use rustls::ClientConfig;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::stream_url::StreamUrl;

/// For a connection, and for each answer: meanwhile the program does not read its rings.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// Messages that the library keeps for this program, at most, before it drops some; more than are requested at a time.
const CAPACITY: usize = 256;

pub struct Connection {
    pub context: Context,
    client: Client,
    /// What the server refused last, which is not in the answer to a message: there is none.
    refused: Arc<Mutex<Option<String>>>,
    runtime: Runtime, // the last one: what runs in it ends with it
}

impl Connection {
    /// Connects. `inbox` is the first part of the subjects of answers: the server lets other clients not read them.
    pub fn open(
        url: &StreamUrl,
        tls: Option<&ClientConfig>,
        inbox: &str,
    ) -> Result<Connection, String> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.map_err(|error| format!("start an event loop: {error}"))?;
        let refused = Arc::new(Mutex::new(None));
        let log = Arc::clone(&refused);
        let servers: Result<Vec<ServerAddr>, _> =
            url.servers().iter().map(|server| server.parse()).collect();
        let servers = servers.map_err(|error| error.to_string())?;
        let mut options = ConnectOptions::new()
            .name(aw_service::name())
            .connection_timeout(TIMEOUT)
            .request_timeout(Some(TIMEOUT))
            .custom_inbox_prefix(inbox)
            .subscription_capacity(CAPACITY)
            // Others may be on ports that the sandbox does not allow.
            .ignore_discovered_servers()
            // The run loop decides when to try again.
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    *log.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
                async {}
            });
        if let Some(config) = tls {
            options = options.require_tls(true).tls_client_config(config.clone());
        }
        let limit = TIMEOUT * servers.len() as u32;
        let connect =
            || Ok(runtime.block_on(async { timeout(limit, options.connect(servers)).await }));
        let client = match guarded(connect, |why| why)? {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(fault_of(&error)),
            Err(_) => return Err(fault("no response")),
        };
        let entered = runtime.enter(); // it starts a task
        let mut context = jetstream::new(client.clone());
        context.set_timeout(TIMEOUT);
        drop(entered);
        Ok(Connection { context, client, refused, runtime })
    }

    /// The largest message that the server accepts, in bytes.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits for an answer, for twice the time that one may take: a request with more than one step has no more.
    pub fn run<T, E: std::error::Error>(
        &self,
        exchange: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        match self.within(TIMEOUT * 2, exchange)? {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(self.fault(Some(&error))),
            None => Err(self.fault(None)),
        }
    }

    /// Why there is no answer, or one with an error.
    pub fn fault(&self, error: Option<&dyn std::error::Error>) -> String {
        match (self.refusal(), error) {
            (Some(why), _) => why,
            (None, Some(error)) => fault_of(error),
            (None, None) => fault("no response"),
        }
    }

    /// Waits so long for a future; the client answers the server's pings meanwhile. An error is a fault of the library.
    pub fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, String> {
        let wait = || Ok(self.runtime.block_on(async { timeout(limit, future).await }).ok());
        guarded(wait, |why| why)
    }

    /// What the server refused since the last call.
    fn refusal(&self) -> Option<String> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let why = refused.take()?;
        Some(format!(
            "the server refuses it: {why} (allow it to this user in the server's configuration)"
        ))
    }
}

/// The cause of an error of the library, with a remedy where there is one.
fn fault_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = match inner.downcast_ref::<std::io::Error>() {
            Some(io) => aw_service::cause(io),
            None => inner.to_string(),
        };
        if !text.contains(&inner_text) {
            text =
                if inner.source().is_none() { inner_text } else { format!("{text}: {inner_text}") };
        }
        source = inner.source();
    }
    // Some kinds of errors have their cause twice.
    let half = text.len().saturating_sub(2) / 2;
    if text.get(half..half + 2) == Some(": ") && text.get(..half) == text.get(half + 2..) {
        text.truncate(half);
    }
    if text.contains("timed out") {
        text = "no response".into();
    }
    let remedy = match () {
        () if text.contains("insufficient storage") => {
            " (lower --max-bytes, or raise max_file of jetstream in the server's configuration)"
        }
        () if text.contains("platform certs") => {
            " (let this user read all files of the system's directory of authorities)"
        }
        () if text.contains("stream not found") => " (create it: aw-relay create)",
        () => "",
    };
    fault(&(text + remedy))
}

fn fault(why: &str) -> String {
    let why = certificate_fault(why, "ca= of the URL");
    connection_fault(&why, "the URL", "write nats:// in the URL")
}
