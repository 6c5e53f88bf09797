//! Where messages go: standard error, or syslog once the program is in the background.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

static NAME: OnceLock<&'static str> = OnceLock::new();
static SYSLOG: Mutex<Option<Syslog>> = Mutex::new(None);

/// Says something. That it cannot be said is no reason to stop.
pub fn say(what: impl Display) {
    log(Level::Notice, &what.to_string());
}

/// Says that something is wrong which the program copes with.
pub fn warn(what: impl Display) {
    log(Level::Warning, &what.to_string());
}

/// Says why the program ends.
pub(crate) fn error(what: impl Display) {
    log(Level::Error, &what.to_string());
}

pub(crate) fn set_name(name: &'static str) {
    let _ = NAME.set(name); // the first stays
}

pub(crate) fn name() -> &'static str {
    NAME.get().copied().unwrap_or("addrwatch")
}

/// From now on to syslog; tells whether somebody takes it there.
pub(crate) fn to_syslog() -> bool {
    let syslog = Syslog { connection: connect() };
    let connected = syslog.connection.is_some();
    *locked() = Some(syslog);
    connected
}

/// Whether there is a syslog daemon.
pub(crate) fn syslog_is_there() -> bool {
    connect().is_some()
}

enum Level {
    Notice,
    Warning,
    Error,
}

fn log(level: Level, text: &str) {
    // A name that came from elsewhere must not begin a line of its own, nor steer a terminal.
    let text = text.replace(char::is_control, "?");
    match &mut *locked() {
        Some(syslog) => syslog.send(level, &text),
        None => drop(writeln!(io::stderr(), "{}: {text}", name())),
    }
}

fn locked() -> MutexGuard<'static, Option<Syslog>> {
    SYSLOG.lock().unwrap_or_else(PoisonError::into_inner)
}

type Connection = Logger<LoggerBackend, Formatter3164>;

struct Syslog {
    connection: Option<Connection>,
}

impl Syslog {
    /// Once more after a failure: the syslog daemon may have been restarted.
    fn send(&mut self, level: Level, text: &str) {
        for _ in 0..2 {
            if self.connection.is_none() {
                self.connection = connect();
            }
            let Some(connection) = &mut self.connection else { return };
            let sent = match level {
                Level::Notice => connection.notice(text),
                Level::Warning => connection.warning(text),
                Level::Error => connection.err(text),
            };
            if sent.is_ok() {
                return;
            }
            self.connection = None;
        }
    }
}

fn connect() -> Option<Connection> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: name().into(),
        pid: std::process::id(),
    };
    let connection = syslog::unix(formatter).ok()?;
    if let LoggerBackend::Unix(socket) = &connection.backend {
        // A syslog daemon that hangs must not hang us.
        socket.set_nonblocking(true).ok()?;
    }
    Some(connection)
}
