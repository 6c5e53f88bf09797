//! The connection to the broker, at MQTT 5: there it says of each message whether it took it. What fails ends the connection;
//! what was not acknowledged by then is handed over again by whoever has it.
//!
//! It trusts the broker to be who TLS says, and nothing that it sends but acknowledgements.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use aw_output::{Error, Fault, HostPort, Result, warn};
use aw_service::Secret;
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
use shm_layout::cause;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::topics::Topics;

/// How long to wait for a connection, and for the next acknowledgement: the rings wait for nobody.
const WAIT: Duration = Duration::from_secs(3);
/// For what the broker sends unasked, at once: events wait meanwhile.
const TENDING: Duration = Duration::from_millis(20);
/// How often one shows that one is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Messages that wait for their acknowledgements at once.
const WINDOW: u16 = 64;

/// Topics that are said to be refused, at most.
const TOLD: usize = 100;

/// Of `--broker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    pub place: HostPort,
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (tls, port, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, 1883, rest),
            Some(("mqtts", rest)) => (true, 8883, rest),
            _ => (false, 0, ""),
        };
        let place = HostPort::parse(rest, port);
        let place = place.map_err(|_| "must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")?;
        Ok(Address { tls, place })
    }
}

/// To be published.
pub struct Message {
    pub topic: String,
    pub payload: String,
    /// The broker keeps it for those who come later; an empty one makes it forget.
    pub retain: bool,
}

impl Message {
    /// Its bytes as a packet, at most.
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + 10 // kind, length, topic's length, number, no properties
    }

    pub fn retained(topic: String, payload: impl Into<String>) -> Message {
        Message { topic, payload: payload.into(), retain: true }
    }
}

pub struct Broker {
    options: MqttOptions,
    shown: String,
    runtime: Option<Runtime>,
    link: Option<(AsyncClient, EventLoop)>,
    /// Bytes of a message that the broker takes, as it said at the connection.
    largest: usize,
    /// Messages that it does not take, now or ever, and their first topics: each is said once.
    refused: u64,
    told: BTreeSet<String>,
}

impl Broker {
    pub fn new(
        place: &HostPort,
        login: Option<(&str, Option<Secret>)>,
        tls: Option<Arc<ClientConfig>>,
        topics: &Topics,
    ) -> Broker {
        let HostPort { host, port } = place;
        let mut options = MqttOptions::new(topics.client(), host, *port);
        options.set_keep_alive(KEEP_ALIVE).set_connection_timeout(WAIT.as_secs());
        options.set_outgoing_inflight_upper_limit(WINDOW);
        options.set_last_will(LastWill::new(
            topics.status(),
            "offline",
            QoS::AtLeastOnce,
            true,
            None,
        ));
        if let Some((user, password)) = login {
            options.set_credentials(user, password.as_ref().map_or("", Secret::reveal));
        }
        let shown = format!("{}://{host}:{port}", if tls.is_some() { "mqtts" } else { "mqtt" });
        if let Some(tls) = tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        }
        let (told, largest) = (BTreeSet::new(), usize::MAX);
        Broker { options, shown, runtime: None, link: None, largest, refused: 0, told }
    }

    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    pub fn connect(&mut self) -> Result {
        if self.runtime.is_none() {
            // Not before privileges are given up: it makes threads, to find hosts.
            let runtime = Builder::new_current_thread().enable_all().build();
            let down = |error| Fault::from(Error::io("wait for a broker", error));
            self.runtime = Some(runtime.map_err(down)?);
        }
        self.link = Some(AsyncClient::new(self.options.clone(), WINDOW.into()));
        let end = Instant::now() + 2 * WAIT; // rumqttc has a limit of its own
        loop {
            if let Event::Incoming(Incoming::ConnAck(accepted)) = self.wanted(end)? {
                let largest = accepted.properties.and_then(|properties| properties.max_packet_size);
                self.largest = largest.map_or(usize::MAX, |bytes| bytes as usize);
                return Ok(());
            }
        }
    }

    /// Publishes these; done once each is acknowledged, or refused for good.
    pub fn publish(&mut self, messages: Vec<Message>) -> Result {
        let mut messages = messages.into_iter();
        // Given to the client, which says then what number each has; and not acknowledged.
        let (mut given, mut waiting) = (VecDeque::new(), BTreeMap::new());
        let mut end = Instant::now() + WAIT;
        loop {
            while given.len() + waiting.len() < WINDOW.into()
                && let Some(message) = messages.next()
            {
                if message.size() > self.largest {
                    self.refuse(message.topic, "it is too large");
                } else {
                    given.push_back(message.topic.clone());
                    self.send(message)?;
                }
            }
            if given.is_empty() && waiting.is_empty() {
                return Ok(());
            }
            match self.wanted(end)? {
                Event::Outgoing(Outgoing::Publish(number)) => {
                    waiting.extend(given.pop_front().map(|topic| (number, topic)));
                }
                Event::Incoming(Incoming::PubAck(PubAck { pkid, reason, .. })) => {
                    use PubAckReason::{
                        NoMatchingSubscribers, NotAuthorized, PayloadFormatInvalid, Success,
                        TopicNameInvalid,
                    };
                    let topic = waiting.remove(&pkid).unwrap_or_default();
                    match reason {
                        Success | NoMatchingSubscribers => {}
                        NotAuthorized => {
                            self.refuse(topic, "NotAuthorized (may this user publish there?)")
                        }
                        TopicNameInvalid => self.refuse(topic, "TopicNameInvalid"),
                        PayloadFormatInvalid => self.refuse(topic, "PayloadFormatInvalid"),
                        _ => return Err(self.down(format!("it does not take {topic}: {reason:?}"))),
                    }
                    end = Instant::now() + WAIT;
                }
                _ => {}
            }
        }
    }

    /// Messages that the broker would not take at any time.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Passes over a message that would be refused again: it holds up no other.
    fn refuse(&mut self, topic: String, why: &str) {
        self.refused += 1;
        if self.told.len() < TOLD && !self.told.contains(&topic) {
            let shown = &self.shown;
            warn(format_args!("{shown} refuses {topic}: {why}: going on without"));
            self.told.insert(topic);
        }
    }

    /// Shows that one is there, and notices what the broker does: not for long, whatever it sends.
    pub fn tend(&mut self) -> Result {
        let end = Instant::now() + TENDING;
        while Instant::now() < end
            && self.event(Instant::now() + Duration::from_millis(1))?.is_some()
        {}
        Ok(())
    }

    /// Ends the connection so that its will is not executed.
    pub fn leave(&mut self) -> Result {
        if let Some((client, _)) = &self.link {
            let _ = client.try_disconnect(); // nothing else is in its queue
            let end = Instant::now() + WAIT;
            while !matches!(self.wanted(end)?, Event::Outgoing(Outgoing::Disconnect)) {}
        }
        self.link = None;
        Ok(())
    }

    fn send(&mut self, Message { topic, payload, retain }: Message) -> Result {
        let Some((client, _)) = &self.link else {
            return Err(self.down("there is no connection".into()));
        };
        let sent = client.try_publish(topic.as_str(), QoS::AtLeastOnce, retain, payload);
        sent.map_err(|error| self.down(format!("{topic}: {error}")))
    }

    /// What happens next, which must be soon.
    fn wanted(&mut self, end: Instant) -> Result<Event> {
        self.event(end)?.ok_or_else(|| self.down("it does not answer".into()))
    }

    /// What happens next; none once there is no time left, however much the broker still sends.
    fn event(&mut self, end: Instant) -> Result<Option<Event>> {
        let (Some(runtime), Some((_, events))) = (&self.runtime, &mut self.link) else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None); // a poll would still yield what is there
        }
        match runtime.block_on(async { timeout(left, events.poll()).await }) {
            Ok(Ok(Event::Incoming(Incoming::Publish(_)))) => {
                Err(self.down("it sends messages, which nobody asked for".into()))
            }
            Ok(Ok(event)) => Ok(Some(event)),
            Ok(Err(error)) => Err(self.down(why(&error))),
            Err(_) => Ok(None),
        }
    }

    fn down(&mut self, why: String) -> Fault {
        self.link = None;
        Fault::Down(format!("publish to {}: {why}", self.shown))
    }
}

/// In words that say what to do.
fn why(error: &ConnectionError) -> String {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    match error {
        ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized) => {
            "it refuses the login (--login, --password-file)".into()
        }
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion),
        ) => format!("it does not speak MQTT 5: {code:?}"),
        ConnectionError::ConnectionRefused(code) => format!("it refuses: {code:?}"),
        ConnectionError::Io(error) | ConnectionError::Tls(TlsError::Io(error)) => text(error),
        ConnectionError::Timeout(_) => "it does not answer".into(),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(WireError::Io(error)),
        ) => text(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "it closed the connection".into()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => "it does not answer".into(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("it ended the connection: {reason_code:?}")
        }
        other => other.to_string(),
    }
}

/// An error of the system has words of ours; others say themselves what is wrong, as a certificate that is not believed.
fn text(error: &io::Error) -> String {
    if error.get_ref().is_some() { error.to_string() } else { cause(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address =
            |tls, host: &str, port| Address { tls, place: HostPort { host: host.into(), port } };
        for (text, expected) in [
            ("mqtt://broker", address(false, "broker", 1883)),
            ("mqtts://broker", address(true, "broker", 8883)),
            ("mqtts://[2001:db8::1]:1", address(true, "2001:db8::1", 1)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "broker", "tcp://broker", "mqtt://", "mqtt://a:0", "mqtt://user@host"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
