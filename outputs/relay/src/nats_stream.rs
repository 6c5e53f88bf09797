//! The stream as a source of events for outputs. The position is theirs: the server keeps none, so each output reads all messages.
//!
//! Messages are requested a few at a time. If one is missing between two, or the connection fails, reading begins again at the position.
//! The message before the position comes first: if it is another one than before, the server has lost what it had in its place, and
//! what is there now is read.

use std::{
    process::ExitCode,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use async_nats::{
    datetime::DateTime,
    jetstream::consumer::{AckPolicy, DeliverPolicy, pull},
};
use aw_output::{
    BatchStream, Error, Plan, RingOptions, Sink, StreamMessage, StreamStart, as_service, check,
    failed, info, run_stream, warn,
};
use aw_service::{Backoff, Condition};
use clap::Args;
use futures_util::StreamExt;
use rustls::ClientConfig;
use shm_layout::{Position, RingName, UnixTime};

use crate::{batch::decode, connection::Connection, stream_url::StreamUrl, subject::parse};

/// Messages that are requested at a time, of a quarter of a megabyte at most each: `aw-relay create` limits them.
const REQUESTED: usize = 32;
/// How long a request waits at the server, and how often that sends a sign of life meanwhile. After two that are missing, this
/// program connects again.
const EXPIRES: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the server keeps the state of a reader that is gone.
const INACTIVE: Duration = Duration::from_secs(60);
/// The shortest wait for a message: the connection works meanwhile.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Pauses between two tries to connect: the server is a source, and events wait there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The option of an output that can read a stream.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rings")]
pub struct StreamOptions {
    /// Read the events of all sensors whose aw-relay publishes to this stream of a NATS server, in place of rings:
    /// nats://HOST[:PORT][,HOST...]/STREAM, or tls://HOST/STREAM?ca=FILE&cert=FILE&key=FILE with TLS
    #[arg(long, value_name = "URL", conflicts_with = "rings")]
    pub stream: Option<StreamUrl>,
}

impl StreamOptions {
    /// The stream that is named, which takes the place of the rings, with what it needs beside the output's plan. Its files are read, which may
    /// be root's.
    pub fn source(&self, rings: &RingOptions, plan: &Plan) -> Option<StreamSource> {
        let url = self.stream.clone()?;
        let (mut rings, mut plan) = (rings.clone(), plan.clone());
        rings.rings.clear();
        plan.files.extend(url.access());
        plan.named.extend(url.files());
        plan.sockets.extend([libc::AF_INET, libc::AF_INET6]);
        plan.event_loop = true;
        let open = || NatsStream::new(url, rings.once);
        let stream = match rings.check {
            true => as_service(&rings, None, open).and_then(|opened| opened),
            false => open(),
        };
        Some(StreamSource { stream, rings, plan })
    }
}

/// A stream that an output reads in place of rings.
pub struct StreamSource {
    /// Or why it cannot be read: for the log, which is not open yet.
    stream: Result<NatsStream, Error>,
    rings: RingOptions,
    plan: Plan,
}

impl StreamSource {
    /// Runs the output, or tries it with `--check`; `settings` are for the one of the two functions that is called.
    pub fn run<S: Sink, T: Send>(
        self,
        name: &'static str,
        settings: T,
        try_output: impl FnOnce(T) -> Result<String, Vec<String>> + Send,
        open: impl FnOnce(T) -> Result<S, Error>,
    ) -> ExitCode {
        let StreamSource { stream, rings, plan } = self;
        if !rings.check {
            return run_stream(name, &rings, &plan, stream, || open(settings));
        }
        check(name, &rings, &plan, || {
            let stream = stream.map_err(|error| error.to_string()).and_then(|mut it| it.check());
            match (try_output(settings), stream) {
                (Ok(line), Ok(stream)) if line.is_empty() => Ok(stream),
                (Ok(line), Ok(stream)) => Ok(format!("{line}; {stream}")),
                (output, stream) => {
                    Err(output.err().into_iter().flatten().chain(stream.err()).collect())
                }
            }
        })
    }
}

/// A stream that is read.
pub struct NatsStream {
    url: StreamUrl,
    tls: Option<Arc<ClientConfig>>,
    /// Of its checkpoint.
    name: RingName,
    once: bool,
    /// Where reading begins when it connects again.
    start: Start,
    /// After the message before `Start::Now`: nothing older is read.
    since: Option<DateTime>,
    reading: Option<Reading>,
    down: Condition,
    /// Since when it cannot be read, in seconds since 1970, and why.
    fault: (i64, String),
    backoff: Backoff,
    retry_at: Instant,
}

/// Where reading begins.
#[derive(Clone, Copy)]
enum Start {
    Oldest,
    Now,
    /// With this number, from 0, after the message before it, which the server stored at the time in the generation.
    At(Position),
    /// With the first message that the server stored since this time.
    Since(DateTime),
}

struct Reading {
    messages: pull::Stream,
    /// The last message that was there when it was opened.
    end: u64,
    is_at_end: bool,
    /// Where it began: the message before, which was read before, comes first.
    begin: Option<Position>,
    /// Messages that this reader got.
    received: u64,
    connection: Connection, // the last one: the messages are dropped in its event loop
}

impl NatsStream {
    fn new(url: StreamUrl, once: bool) -> Result<NatsStream, Error> {
        let tls = url.tls()?;
        // No host is empty, so this is no checkpoint of a sensor.
        let name = format!("/:{}", url.stream);
        let name = name.parse().map_err(|error| failed(format_args!("name {name}: {error}")))?;
        let (down, fault) = Default::default();
        Ok(NatsStream {
            tls,
            url,
            name,
            once,
            start: Start::Oldest,
            since: None,
            reading: None,
            down,
            fault,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            retry_at: Instant::now(),
        })
    }

    /// Connects and finds the stream.
    fn check(&mut self) -> Result<String, String> {
        match self.connect() {
            Ok(_) => Ok(format!("{} can be read", self.url)),
            Err(why) => Err(format!("read {}: {why}", self.url)),
        }
    }

    fn connect(&mut self) -> Result<Reading, String> {
        let connection = Connection::open(&self.url, self.tls.as_deref(), "_INBOX.reader")?;
        let stream = connection.run(connection.context.get_stream(&self.url.stream))?;
        let state = &stream.cached_info().state;
        let end = state.last_sequence;
        match self.start {
            // What comes while it connects again counts, too.
            Start::Now => {
                self.since = Some(state.last_timestamp + Duration::from_nanos(1));
                self.start = Start::At(position(end, state.last_timestamp));
            }
            Start::At(at) if at.sequence > end => self.go_back(),
            Start::Oldest | Start::At(_) | Start::Since(_) => {}
        }
        let begin = if let Start::At(at) = self.start { Some(at) } else { None };
        let deliver_policy = match self.start {
            Start::Oldest | Start::Now => DeliverPolicy::All,
            // The server counts from 1, so this is the last message that was read: see `receive`.
            Start::At(at) => DeliverPolicy::ByStartSequence { start_sequence: at.sequence.max(1) },
            Start::Since(start_time) => DeliverPolicy::ByStartTime { start_time },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = connection.run(stream.create_consumer(config))?;
        let is_at_end = consumer.cached_info().num_pending == 0;
        let messages = consumer
            .stream()
            .max_messages_per_batch(REQUESTED)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages();
        let messages = connection.run(messages)?;
        Ok(Reading { messages, end, is_at_end, begin, received: 0, connection })
    }

    /// The last message that was read is not in the stream, or another one has its number.
    fn go_back(&mut self) {
        // Not by the time of that message: the server's clock may have been wrong then, or may be now.
        self.start = self.since.map_or(Start::Oldest, Start::Since);
        warn(format_args!(
            "{} was created again, or has lost its newest messages, as after a power failure of the server: it is read again from its first message on, and events that are stored already are not stored again",
            self.url
        ));
    }

    /// Reading begins again at the position, after a pause.
    fn fail(&mut self, why: String) -> Result<(), Error> {
        let text = format!("read {}: {why}", self.url);
        self.reading = None;
        if self.once {
            return Err(failed(text));
        }
        self.retry_at = Instant::now() + self.backoff.pause();
        if !self.down.is_present() {
            self.fault.0 = UnixTime::now().seconds();
        }
        self.down.begins(format_args!("{text}: it is tried again, and events wait at the server"));
        self.fault.1 = text;
        Ok(())
    }

    /// A message of the server, and what it is; an error ends the connection.
    fn receive(&mut self, wait: Duration) -> Result<Option<StreamMessage>, String> {
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let next = reading.connection.within(wait.max(LEAST_WAIT), reading.messages.next())?;
        let message = match next {
            None => return Ok(None),
            Some(None) => return Err("the server ended the request".into()),
            Some(Some(Err(error))) => return Err(error.to_string()),
            Some(Some(Ok(message))) => message,
        };
        let found = message.info().map_err(|error| error.to_string())?;
        reading.received += 1;
        if found.consumer_sequence != reading.received {
            return Err("a message is missing".into());
        }
        reading.is_at_end = found.pending == 0 || found.stream_sequence >= reading.end;
        let next = position(found.stream_sequence, found.published);
        if let Some(begin) = reading.begin.take()
            && next.sequence == begin.sequence
        {
            if next != begin {
                self.reading = None;
                self.go_back();
                return Ok(None);
            }
            return self.receive(wait);
        }
        self.start = Start::At(next);
        let batch = match parse(&message.subject) {
            Some(sensor) => decode(sensor, &message.payload)
                .map_err(|why| format!("on {}: {why}", &*message.subject)),
            None => Err(format!("{:?} is no subject of aw-relay", &*message.subject)),
        };
        let at = Position { sequence: next.sequence.saturating_sub(1), ..next };
        Ok(Some(StreamMessage { at, batch }))
    }
}

/// The position after the message of this number, from 1.
fn position(sequence: u64, time: DateTime) -> Position {
    Position { generation: time.unix_timestamp_nanos() as u64, sequence }
}

impl BatchStream for NatsStream {
    fn name(&self) -> &RingName {
        &self.name
    }

    fn begin(&mut self, start: StreamStart) {
        self.start = match start {
            StreamStart::Oldest => Start::Oldest,
            StreamStart::Now => Start::Now,
            StreamStart::At(position) => Start::At(position),
        };
    }

    fn next(&mut self, wait: Duration) -> Result<Option<StreamMessage>, Error> {
        if self.reading.is_none() {
            let left = self.retry_at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                sleep(wait.min(left));
                return Ok(None);
            }
            match self.connect() {
                Ok(reading) => self.reading = Some(reading),
                Err(why) => return self.fail(why).map(|()| None),
            }
            if self.down.is_present() {
                self.down.ends(format_args!("{} can be read again", self.url));
            } else {
                info(format_args!("reading {}", self.url));
            }
            self.backoff.reset();
        }
        match self.receive(wait) {
            Ok(message) => Ok(message),
            Err(why) => self.fail(why).map(|()| None),
        }
    }

    fn is_at_end(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.is_at_end)
    }

    fn fault(&self) -> Option<(i64, String)> {
        self.down.is_present().then(|| self.fault.clone())
    }

    fn status(&self) -> String {
        match self.down.is_present() {
            true => self.fault.1.clone(),
            false => format!("reading {}", self.url),
        }
    }
}
