//! Messages go to standard error, or to syslog once the program is in the background.
//!
//! Once the program is ready, a separate thread writes them: a pager or a syslog daemon that hangs must
//! delay neither the program's work nor its exit.

use std::{
    fmt::Display,
    io::{self, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Zoned;

use crate::plain;

/// Messages in the queue; further ones are dropped and counted.
const CAPACITY: usize = 256;
/// How long the program waits at its exit for the queue to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static NAME: OnceLock<&'static str> = OnceLock::new();
static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);

/// Logs a message. A failure to write it is ignored.
pub fn info(what: impl Display) {
    log(Level::Notice, &what.to_string());
}

/// Logs a fault that does not end the program.
pub fn warn(what: impl Display) {
    log(Level::Warning, &what.to_string());
}

/// Logs why the program ends.
pub(crate) fn error(what: impl Display) {
    log(Level::Error, &what.to_string());
}

pub(crate) fn set_name(name: &'static str) {
    let _ = NAME.set(name); // a second call changes nothing
}

/// The name of the program.
pub fn name() -> &'static str {
    NAME.get().copied().unwrap_or("addrwatch")
}

/// Whether a syslog daemon listens on /dev/log.
pub(crate) fn has_syslog() -> bool {
    Connection::open().is_ok()
}

/// Starts the thread that writes messages, to standard error or to syslog.
pub(crate) fn start(to_syslog: bool) {
    let (to, messages) = sync_channel::<(Level, String)>(CAPACITY);
    let (ended, end) = channel();
    thread::spawn(move || {
        let mut syslog = to_syslog.then(Syslog::default);
        for (level, text) in messages {
            write(syslog.as_mut(), level, &text);
        }
        let _ = ended.send(()); // fails if `finish` has timed out
    });
    *queue() = Some(Queue { to, end, lost: 0 });
}

/// Waits until all messages are written, up to the timeout.
pub(crate) fn finish() {
    if let Some(Queue { to, end, .. }) = queue().take() {
        drop(to);
        let _ = end.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// The queue to the thread.
struct Queue {
    to: SyncSender<(Level, String)>,
    end: Receiver<()>,
    /// Messages dropped since the last one that was queued.
    lost: u64,
}

#[derive(Clone, Copy)]
enum Level {
    Notice,
    Warning,
    Error,
}

fn log(level: Level, text: &str) {
    // A name from the network must neither begin a new line nor control a terminal.
    let mut text = plain(text);
    let mut guard = queue();
    let Some(queue) = &mut *guard else { return write(None, level, &text) };
    if queue.lost > 0 {
        text = format!("{text} ({} earlier messages could not be written)", queue.lost);
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

fn queue() -> MutexGuard<'static, Option<Queue>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// RFC 3164, facility daemon, local time.
fn syslog_line(level: Level, text: &str) -> String {
    const DAEMON: u8 = 3 << 3;
    let severity = match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Notice => 5,
    };
    let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    format!("<{}>{time} {}[{}]: {text}", DAEMON | severity, name(), std::process::id())
}

enum Connection {
    Datagram(UnixDatagram),
    /// Older daemons; each message ends with a zero byte.
    Stream(UnixStream),
}

impl Connection {
    fn open() -> io::Result<Connection> {
        const SOCKET: &str = "/dev/log";
        let datagram = UnixDatagram::unbound()?;
        match datagram.connect(SOCKET) {
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                UnixStream::connect(SOCKET).map(Connection::Stream)
            }
            connected => connected.map(|()| Connection::Datagram(datagram)),
        }
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        match self {
            Connection::Datagram(socket) => socket.send(line.as_bytes()).map(drop),
            Connection::Stream(socket) => socket.write_all(format!("{line}\0").as_bytes()),
        }
    }
}

#[derive(Default)]
struct Syslog {
    connection: Option<Connection>,
}

impl Syslog {
    /// Tries again once after a failure: the syslog daemon may have been restarted.
    fn send(&mut self, level: Level, text: &str) {
        let line = syslog_line(level, text);
        for _ in 0..2 {
            if self.connection.is_none() {
                self.connection = Connection::open().ok();
            }
            let Some(connection) = &mut self.connection else { return };
            if connection.send(&line).is_ok() {
                return;
            }
            self.connection = None;
        }
    }
}
