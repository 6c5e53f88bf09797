//! The connection to the broker. It uses MQTT 5, in which the broker gives a reason code for each message. An error ends the
//! connection; the caller publishes messages again that were not acknowledged.
//!
//! It trusts the broker that TLS authenticates, and uses only its acknowledgements.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use aw_notify::read_secret;
use aw_output::{Error, Fault, HostPort, SinkResult, warn};
use aw_peer::{certificate_fault, guarded};
use aw_service::{Secret, cause, connection_fault};
use rumqttc::{
    Outgoing, TlsConfiguration, Transport,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError,
        TlsError,
        mqttbytes::{
            Error as WireError, QoS,
            v5::{ConnectReturnCode, LastWill, PubAck, PubAckReason},
        },
    },
};
use rustls::ClientConfig;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{old_protocol, topics::Topics};

/// For a connection and for the next acknowledgement: while the program waits, it does not read the rings.
const TIMEOUT: Duration = Duration::from_secs(3);
/// For each message of a batch beyond that, so that a broker that delays each acknowledgement does not hold the program.
const MESSAGE_TIME: Duration = Duration::from_millis(10);
/// For incoming packets at a time: meanwhile the program does not read the rings.
const KEEP_ALIVE_TIME: Duration = Duration::from_millis(20);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Messages without acknowledgement at a time.
const WINDOW: u16 = 64;

const REFUSED_LOGIN: &str = "the broker refuses the login";
const NO_RESPONSE: &str = "no response";
const CLOSED: &str = "the broker closed the connection";
const RESET: &str = "connection reset by peer"; // of the system
const OLD_PROTOCOL: &str = "the broker speaks MQTT 3.1.1 and not MQTT 5, which aw-mqtt needs (use a broker with MQTT 5, such as mosquitto 1.6 or newer)";

/// Refused topics that are logged, at most.
const MAX_LOGGED_TOPICS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    pub tls: bool,
    pub server: HostPort,
}

impl FromStr for BrokerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tls, port, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, 1883, rest),
            Some(("mqtts", rest)) => (true, 8883, rest),
            _ => (false, 0, ""),
        };
        if rest.contains('@') {
            return Err("must have no user and password (use --login NAME --password-file FILE)");
        }
        let server = HostPort::parse(rest, port)
            .map_err(|_| "must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")?;
        Ok(BrokerUrl { tls, server })
    }
}

#[derive(Clone, Debug)]
pub struct Publication {
    pub topic: String,
    pub payload: String,
    /// The broker stores it for later subscribers; an empty payload clears it.
    pub retain: bool,
}

impl Publication {
    /// Size of its packet in bytes, at most.
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + 10 // type, length, topic's length, packet identifier, no properties
    }

    pub fn retained(topic: String, payload: impl Into<String>) -> Publication {
        Publication { topic, payload: payload.into(), retain: true }
    }
}

/// The login at the broker.
pub struct Login {
    pub name: String,
    /// As it was read at the start.
    pub password: Option<Secret>,
    /// Read again for each login, so that a corrected password needs no restart.
    pub file: Option<PathBuf>,
}

pub struct Broker {
    options: MqttOptions,
    login: Option<Login>,
    server: HostPort,
    tls: Option<Arc<ClientConfig>>,
    /// The URL, for messages.
    url: String,
    runtime: Option<Runtime>,
    connection: Option<(AsyncClient, EventLoop)>,
    /// It has answered in MQTT 5.
    speaks_5: bool,
    /// The maximum packet size that the broker has announced.
    max_packet: usize,
    /// Messages that the broker refuses for good.
    refused: u64,
    /// The topics of refused messages, each of which is logged once.
    logged: BTreeSet<String>,
}

impl Broker {
    pub fn new(
        server: &HostPort,
        login: Option<Login>,
        tls: Option<Arc<ClientConfig>>,
        topics: &Topics,
    ) -> Broker {
        let HostPort { host, port } = server;
        let mut options = MqttOptions::new(topics.client(), host, *port);
        options.set_keep_alive(KEEP_ALIVE_INTERVAL).set_connection_timeout(TIMEOUT.as_secs());
        options.set_outgoing_inflight_upper_limit(WINDOW);
        options.set_last_will(LastWill::new(
            topics.status(),
            "offline",
            QoS::AtLeastOnce,
            true,
            None,
        ));
        let url = format!("{}://{server}", if tls.is_some() { "mqtts" } else { "mqtt" });
        if let Some(tls) = &tls {
            let tls = TlsConfiguration::Rustls(tls.clone());
            options.set_transport(Transport::tls_with_config(tls));
        }
        Broker {
            options,
            login,
            server: server.clone(),
            tls,
            url,
            runtime: None,
            connection: None,
            speaks_5: false,
            max_packet: usize::MAX,
            refused: 0,
            logged: BTreeSet::new(),
        }
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Logs in, and publishes an empty message that is not retained, below the topic of events: a broker may allow a login and no
    /// topic. While the program runs it is another client, so that the connection of that one stays. Returns a line for the user.
    pub fn check(mut self, topics: &Topics, is_running: bool) -> SinkResult<String> {
        let own = self.options.client_id();
        let name = match is_running {
            true => format!("{own}-check-{}", std::process::id()),
            false => own.clone(),
        };
        let mut options = MqttOptions::new(name.clone(), &self.server.host, self.server.port);
        options.set_keep_alive(KEEP_ALIVE_INTERVAL).set_connection_timeout(TIMEOUT.as_secs());
        options.set_transport(self.options.transport());
        self.options = options;
        let other_client = |fault| match fault {
            Fault::Down(why) if is_running && why.contains("refuses the") => Fault::Down(format!(
                "{why}; tried as client {name}, because the running aw-mqtt has the name {own}: if the broker lets {own} in only, that is the reason"
            )),
            fault => fault,
        };
        self.connect().map_err(other_client)?;
        let topic = topics.event("check", "check");
        let message = Publication { topic: topic.clone(), payload: String::new(), retain: false };
        self.logged.insert(topic.clone()); // it is a fault here, and no warning
        self.publish(vec![message])?;
        if self.refused > 0 {
            let url = &self.url;
            let why = format!(
                "publish to {url}: {topic} is not authorized (allow the topics {}/# to this user)",
                topics.base()
            );
            return Err(Fault::Down(why));
        }
        self.disconnect()?;
        Ok(format!("{} accepts the login and messages", self.url))
    }

    pub fn connect(&mut self) -> SinkResult {
        if self.runtime.is_none() {
            // Created after privileges are dropped, because it starts threads to resolve host names.
            let runtime = Builder::new_current_thread().enable_all().build();
            let down = |error| Fault::from(Error::io("create the event loop", error));
            self.runtime = Some(runtime.map_err(down)?);
        }
        let unread = self.set_login();
        self.connection = Some(AsyncClient::new(self.options.clone(), WINDOW.into()));
        let end = Instant::now() + 2 * TIMEOUT; // rumqttc has a timeout of its own
        loop {
            let event =
                self.next_event(end).map_err(|fault| match self.or_old_protocol(fault) {
                    Fault::Down(why) if why.contains(REFUSED_LOGIN) => {
                        Fault::Down(format!("{why} ({})", self.login_remedy(unread.as_deref())))
                    }
                    fault => fault,
                })?;
            if let Event::Incoming(Incoming::ConnAck(accepted)) = event {
                let max = accepted.properties.and_then(|properties| properties.max_packet_size);
                self.speaks_5 = true;
                self.max_packet = max.map_or(usize::MAX, |bytes| bytes as usize);
                return Ok(());
            }
        }
    }

    /// Takes the password as its file has it now. Returns why that cannot be read: the one of before is used then.
    fn set_login(&mut self) -> Option<String> {
        let login = self.login.as_mut()?;
        let read = login.file.as_deref().map(|file| read_secret("password", Some(file), None));
        let unread = match read {
            Some(Ok(password)) => {
                login.password = password;
                None
            }
            Some(Err(why)) => Some(why),
            None => None,
        };
        let password = login.password.as_ref().map_or("", Secret::reveal);
        self.options.set_credentials(&*login.name, password);
        unread
    }

    fn login_remedy(&self, unread: Option<&str>) -> String {
        match (&self.login, unread) {
            (None, _) => "set --login and --password-file".into(),
            (Some(Login { file: Some(file), .. }), None) => format!(
                "check --login and --password-file: the first line of {} is read again for each login",
                file.display()
            ),
            (Some(Login { file: Some(_), .. }), Some(unread)) => format!(
                "check --login and --password-file: the password of the start is in use, because now: {unread}"
            ),
            (Some(_), _) => "check --login and its password".into(),
        }
    }

    /// The fault, or that the broker speaks MQTT 3.1.1 only, if it does not answer MQTT 5 at all.
    fn or_old_protocol(&mut self, fault: Fault) -> Fault {
        let Fault::Down(text) = &fault else { return fault };
        let no_answer = [NO_RESPONSE, CLOSED, RESET].iter().any(|end| text.ends_with(end));
        if no_answer && !self.speaks_5 && old_protocol::is_spoken(&self.server, self.tls.as_ref()) {
            return self.down(OLD_PROTOCOL.into());
        }
        fault
    }

    /// Publishes messages. On success, the broker has acknowledged each or refused it for good.
    pub fn publish(&mut self, messages: Vec<Publication>) -> SinkResult {
        let last = Instant::now() + TIMEOUT + MESSAGE_TIME * messages.len() as u32;
        let mut messages = messages.into_iter();
        // Topics: queued in the client, which then assigns a packet identifier; and sent, by identifier.
        let (mut queued, mut sent) = (VecDeque::new(), BTreeMap::new());
        let mut end = Instant::now() + TIMEOUT;
        loop {
            while queued.len() + sent.len() < WINDOW.into()
                && let Some(message) = messages.next()
            {
                if message.size() > self.max_packet {
                    self.refuse(message.topic, "larger than the broker's maximum packet size");
                } else {
                    queued.push_back(message.topic.clone());
                    self.send(message)?;
                }
            }
            if queued.is_empty() && sent.is_empty() {
                return Ok(());
            }
            match self.next_event(end)? {
                Event::Outgoing(Outgoing::Publish(identifier)) => {
                    sent.extend(queued.pop_front().map(|topic| (identifier, topic)));
                }
                Event::Incoming(Incoming::PubAck(PubAck { pkid, reason, .. })) => {
                    let topic = sent.remove(&pkid).unwrap_or_default();
                    self.acknowledged(topic, reason)?;
                    end = last.min(Instant::now() + TIMEOUT);
                }
                _ => {}
            }
        }
    }

    /// Handles an acknowledgement: the broker accepts the message, refuses it for good, or fails.
    fn acknowledged(&mut self, topic: String, reason: PubAckReason) -> SinkResult {
        use PubAckReason::{
            NoMatchingSubscribers, NotAuthorized, PayloadFormatInvalid, Success, TopicNameInvalid,
        };
        match reason {
            Success | NoMatchingSubscribers => {}
            NotAuthorized => self.refuse(topic, "not authorized (allow the topic to this user)"),
            TopicNameInvalid | PayloadFormatInvalid => self.refuse(topic, &format!("{reason:?}")),
            _ => return Err(self.down(format!("the broker does not accept {topic}: {reason:?}"))),
        }
        Ok(())
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Skips a message that the broker would refuse again, so that it does not delay others.
    fn refuse(&mut self, topic: String, why: &str) {
        self.refused += 1;
        if self.logged.len() < MAX_LOGGED_TOPICS && !self.logged.contains(&topic) {
            warn(format_args!("publish to {}: {topic} is refused and skipped: {why}", self.url));
            self.logged.insert(topic);
        }
    }

    /// Sends pings when they are due and handles incoming packets, for a short time.
    pub fn keep_alive(&mut self) -> SinkResult {
        let end = Instant::now() + KEEP_ALIVE_TIME;
        while Instant::now() < end
            && self.event(Instant::now() + Duration::from_millis(1))?.is_some()
        {}
        Ok(())
    }

    /// Handles incoming packets for this time.
    pub fn wait(&mut self, time: Duration) -> SinkResult {
        let end = Instant::now() + time;
        while self.event(end)?.is_some() {}
        Ok(())
    }

    /// Ends the connection so that the broker does not publish the last will.
    pub fn disconnect(&mut self) -> SinkResult {
        if let Some((client, _)) = &self.connection {
            let _ = client.try_disconnect(); // its queue is empty
            let end = Instant::now() + TIMEOUT;
            while !matches!(self.next_event(end)?, Event::Outgoing(Outgoing::Disconnect)) {}
        }
        self.connection = None;
        Ok(())
    }

    fn send(&mut self, Publication { topic, payload, retain }: Publication) -> SinkResult {
        let Some((client, _)) = &self.connection else {
            return Err(self.down("no connection".into()));
        };
        let queued = client.try_publish(topic.as_str(), QoS::AtLeastOnce, retain, payload);
        queued.map_err(|error| self.down(format!("{topic}: {error}")))
    }

    /// The next event; an error if there is none until `end`.
    fn next_event(&mut self, end: Instant) -> SinkResult<Event> {
        self.event(end)?.ok_or_else(|| self.down(NO_RESPONSE.into()))
    }

    /// The next event; none after `end`, even if the broker still sends.
    fn event(&mut self, end: Instant) -> SinkResult<Option<Event>> {
        let (Some(runtime), Some((_, events))) = (&self.runtime, &mut self.connection) else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None); // a poll would still return an event that is there
        }
        let poll = || Ok(runtime.block_on(async { timeout(left, events.poll()).await }));
        match guarded(poll, |why| why).map_err(|why| self.down(why))? {
            Ok(Ok(Event::Incoming(Incoming::Publish(_)))) => {
                Err(self.down("the broker sends messages without a subscription".into()))
            }
            Ok(Ok(event)) => Ok(Some(event)),
            Ok(Err(error)) => Err(self.down(error_text(&error))),
            Err(_) => Ok(None),
        }
    }

    fn down(&mut self, why: String) -> Fault {
        self.connection = None;
        let why = connection_fault(
            &why,
            "--broker",
            "write mqtt:// in --broker, or the port that has TLS",
        );
        Fault::Down(format!("publish to {}: {why}", self.url))
    }
}

/// The cause of a failed connection, with a remedy where there is one.
fn error_text(error: &ConnectionError) -> String {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    match error {
        ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized) => {
            REFUSED_LOGIN.into()
        }
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion,
        ) => OLD_PROTOCOL.into(),
        ConnectionError::ConnectionRefused(code) => {
            format!("the broker refuses the connection: {code:?}")
        }
        ConnectionError::Io(error) | ConnectionError::Tls(TlsError::Io(error)) => {
            io_error_text(error)
        }
        ConnectionError::Timeout(_) => NO_RESPONSE.into(),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(WireError::Io(error)),
        ) => io_error_text(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => CLOSED.into(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "no response to a ping".into(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker ended the connection: {reason_code:?}")
        }
        other => other.to_string(),
    }
}

/// An error of the system by its meaning; others, as of a certificate that is not trusted, have a text of their own.
fn io_error_text(error: &io::Error) -> String {
    match error.get_ref() {
        Some(_) => certificate_fault(&error.to_string(), "--ca-file"),
        None => cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls() {
        let url =
            |tls, host: &str, port| BrokerUrl { tls, server: HostPort { host: host.into(), port } };
        for (text, expected) in [
            ("mqtt://broker", url(false, "broker", 1883)),
            ("mqtts://broker", url(true, "broker", 8883)),
            ("mqtts://[2001:db8::1]:1", url(true, "2001:db8::1", 1)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "broker", "tcp://broker", "mqtt://", "mqtt://a:0"] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad}");
        }
        for with_login in ["mqtt://user@host", "mqtt://ha:secret@192.0.2.1:1883"] {
            let why = with_login.parse::<BrokerUrl>().unwrap_err();
            assert!(why.contains("(use --login NAME --password-file FILE)"), "{why}");
        }
    }
}
