//! Messages go to standard error, or to syslog once the program is in the background.
//!
//! Once the program is ready, a separate thread writes them: a pager or a syslog daemon that hangs must
//! delay neither the program's work nor its exit.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Zoned;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use sd_notify::NotifyState;

use crate::{count_of, plain};

/// Messages in the queue; further ones are dropped and counted.
const CAPACITY: usize = 256;
/// How long the program waits at its exit for the queue to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

const SOCKET: &str = "/dev/log";

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

/// Logs why the program ends. `systemctl status` shows it, too, until the unit is started again: of a service that systemd
/// restarts, the messages that it shows there are systemd's own.
pub(crate) fn error(what: impl Display) {
    let why = plain(&what.to_string());
    let _ = sd_notify::notify(&[NotifyState::Status(&why)]); // without effect outside of systemd
    log(Level::Error, &why);
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
    Connection::open(SOCKET).is_ok()
}

/// Starts the thread that writes messages, to standard error or to syslog.
pub(crate) fn start(to_syslog: bool) {
    let (to, messages) = sync_channel::<Message>(CAPACITY);
    let (ended, end) = channel();
    thread::spawn(move || {
        let mut syslog = to_syslog.then(Syslog::default);
        let mut unwritten = 0;
        for Message { level, text, lost } in messages {
            unwritten += lost;
            let text = with_unwritten(text, unwritten);
            unwritten = if write(syslog.as_mut(), level, &text) { 0 } else { unwritten + 1 };
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
    to: SyncSender<Message>,
    end: Receiver<()>,
    /// Messages dropped since the last one that was queued.
    lost: u64,
}

struct Message {
    level: Level,
    text: String,
    /// Messages dropped before it.
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
    let text = plain(text);
    let mut guard = queue();
    let Some(queue) = &mut *guard else {
        let _ = write(None, level, &text);
        return;
    };
    match queue.to.try_send(Message { level, text, lost: queue.lost }) {
        Ok(()) => queue.lost = 0,
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => queue.lost += 1,
    }
}

fn with_unwritten(text: String, number: u64) -> String {
    match number {
        0 => text,
        _ => {
            let earlier = count_of(number, "earlier message", "earlier messages");
            format!("{text} ({earlier} could not be written)")
        }
    }
}

/// Returns false if the message has to be repeated, or counted.
fn write(syslog: Option<&mut Syslog>, level: Level, text: &str) -> bool {
    match syslog {
        Some(syslog) => syslog.send(level, text),
        None => {
            let _ = writeln!(io::stderr(), "{}: {text}", name());
            true
        }
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
    fn open(path: &str) -> io::Result<Connection> {
        let datagram = UnixDatagram::unbound()?;
        datagram.set_nonblocking(true)?;
        match datagram.connect(path) {
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                // Not std's connect, which waits while a daemon that hangs has as many connections as it accepts.
                let (flags, to) =
                    (SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, SocketAddrUnix::new(path)?);
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                connect(&socket, &to)?;
                Ok(Connection::Stream(socket.into()))
            }
            connected => connected.map(|()| Connection::Datagram(datagram)),
        }
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        match self {
            Connection::Datagram(socket) => {
                in_time(&*socket, || socket.send(line.as_bytes())).map(drop)
            }
            Connection::Stream(socket) => {
                let line = format!("{line}\0");
                let mut rest = line.as_bytes();
                while !rest.is_empty() {
                    match in_time(&*socket, || (&*socket).write(rest))? {
                        0 => return Err(ErrorKind::WriteZero.into()),
                        written => rest = &rest[written..],
                    }
                }
                Ok(())
            }
        }
    }
}

/// Writes to a socket that does not block; waits if it accepts nothing, a second at most.
fn in_time(socket: impl AsFd, mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    match write() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        done => return done,
    }
    let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&timeout))?;
    write().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "it accepts no message"),
        _ => error,
    })
}

/// Sends one message to the syslog daemon of this machine; fails if it accepts none within a second.
pub fn send_to_syslog(message: &str) -> io::Result<()> {
    Connection::open(SOCKET)?.send(message)
}

#[derive(Default)]
struct Syslog {
    connection: Option<Connection>,
}

impl Syslog {
    /// Tries again once after a failure: the syslog daemon may have been restarted. Returns false if the message is not sent.
    fn send(&mut self, level: Level, text: &str) -> bool {
        let line = syslog_line(level, text);
        for _ in 0..2 {
            if self.connection.is_none() {
                self.connection = Connection::open(SOCKET).ok();
            }
            let Some(connection) = &mut self.connection else { return false };
            match connection.send(&line) {
                Ok(()) => return true,
                Err(error) if error.kind() == ErrorKind::TimedOut => break, // it hangs
                Err(_) => self.connection = None,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon that is stopped accepts connections and messages until its queues are full.
    #[test]
    fn a_syslog_daemon_that_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("datagrams");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut connection = Connection::open(path.to_str().unwrap()).unwrap();
        let refused = || (0..100_000).find_map(|_| connection.send("text").err()).unwrap();
        assert_eq!({ refused }().kind(), ErrorKind::TimedOut);
        daemon.recv(&mut [0; 64]).unwrap();
        connection.send("again").unwrap();

        let path = directory.path().join("stream");
        let daemon = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let open = || Connection::open(path.to_str().unwrap());
        let mut connection = open().unwrap();
        let long = "x".repeat(100_000);
        let refused = (0..1000).find_map(|_| connection.send(&long).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
        let all: Vec<_> = (0..100_000).map(|_| open()).take_while(Result::is_ok).collect();
        let full = open().map(drop).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::WouldBlock, "{} connections", all.len());
        drop(daemon);
    }

    #[test]
    fn what_could_not_be_written_is_counted() {
        let text = |number| with_unwritten("the ring is back".into(), number);
        assert_eq!(text(0), "the ring is back");
        assert_eq!(text(1), "the ring is back (1 earlier message could not be written)");
        assert_eq!(text(7), "the ring is back (7 earlier messages could not be written)");
    }
}
