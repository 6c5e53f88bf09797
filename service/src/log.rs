//! Where messages go: standard error, or syslog once the program is in the background.
//!
//! Once the program works, a thread of its own writes them: whoever does not take them, a pager or a
//! syslog daemon that hangs, must not hold up a capture, nor its end.

use std::{
    fmt::Display,
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Zoned;
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// Messages that may wait; more are counted.
const WAITING: usize = 256;
/// How long the program's end waits for them.
const PATIENCE: Duration = Duration::from_secs(1);

static NAME: OnceLock<&'static str> = OnceLock::new();
static THREAD: Mutex<Option<Queue>> = Mutex::new(None);

/// Says something. That it cannot be said is no reason to stop.
pub fn info(what: impl Display) {
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

/// The name that the program gave itself.
pub fn name() -> &'static str {
    NAME.get().copied().unwrap_or("addrwatch")
}

/// Whether there is a syslog daemon.
pub(crate) fn syslog_is_there() -> bool {
    match UnixDatagram::unbound().and_then(|socket| socket.connect("/dev/log")) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPROTOTYPE), // a stream is one, too
    }
}

/// From now on a thread writes, to standard error or to syslog.
pub(crate) fn start(to_syslog: bool) {
    let (to, messages) = sync_channel::<(Level, String)>(WAITING);
    let (ended, end) = channel();
    thread::spawn(move || {
        let mut syslog = to_syslog.then(Syslog::default);
        for (level, text) in messages {
            write(syslog.as_mut(), level, &text);
        }
        let _ = ended.send(()); // nobody waits any more: the process ends
    });
    *locked() = Some(Queue { to, end, lost: 0 });
}

/// Waits until all is written, for a while.
pub(crate) fn finish() {
    if let Some(Queue { to, end, .. }) = locked().take() {
        drop(to);
        let _ = end.recv_timeout(PATIENCE);
    }
}

/// To the thread.
struct Queue {
    to: SyncSender<(Level, String)>,
    end: Receiver<()>,
    /// Messages for which it had no room, since it last had.
    lost: u64,
}

#[derive(Clone, Copy)]
enum Level {
    Notice,
    Warning,
    Error,
}

fn log(level: Level, text: &str) {
    // A name that came from elsewhere must not begin a line of its own, nor steer a terminal.
    let mut text = text.replace(char::is_control, "?");
    let mut thread = locked();
    let Some(queue) = &mut *thread else { return write(None, level, &text) };
    if queue.lost > 0 {
        text = format!("{text} ({} messages before this could not be written)", queue.lost);
    }
    match queue.to.try_send((level, text)) {
        Ok(()) => queue.lost = 0,
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => queue.lost += 1,
    }
}

fn write(syslog: Option<&mut Syslog>, level: Level, text: &str) {
    match syslog {
        Some(syslog) => syslog.send(level, text),
        None => drop(writeln!(io::stderr(), "{}: {text}", name())),
    }
}

fn locked() -> MutexGuard<'static, Option<Queue>> {
    THREAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `/dev/log`, as daemon. The syslog crate's own formats tell the time in UTC once there is a second
/// thread; a line of RFC 3164 has the machine's.
#[derive(Clone)]
struct Line;

impl<T: Display> LogFormat<T> for Line {
    fn format<W: Write>(&self, to: &mut W, severity: Severity, text: T) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let line = format!("<{priority}>{time} {}[{}]: {text}", name(), std::process::id());
        to.write_all(line.as_bytes()).map_err(syslog::Error::Io)
    }
}

type Connection = Logger<LoggerBackend, Line>;

#[derive(Default)]
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
    syslog::unix(Line).ok()
}
