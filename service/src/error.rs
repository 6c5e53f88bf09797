//! Why a program ends before it is stopped, and the texts of errors of the system.

use std::{
    fmt::{self, Display},
    io::{self, ErrorKind},
};

use rustix::io::Errno;

use crate::access::of_unit;

/// Why a program ends.
#[derive(Debug)]
pub enum Error {
    /// The reader closed the pipe that the program writes to, as `| head` does. Not a failure.
    Closed,
    /// A failure, in one line: operation, object, cause, and what to do.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the pipe is closed"),
            Error::Failed(why) => f.write_str(why),
        }
    }
}

impl Error {
    /// A failure of an operation on something.
    pub fn new(what: impl Display, cause: impl Display) -> Error {
        Error::Failed(format!("{what}: {cause}"))
    }

    /// A failure to write to something; a closed pipe is [`Error::Closed`].
    pub fn write(to: impl Display, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::io(format_args!("write to {to}"), error),
        }
    }

    /// A failed system call.
    pub fn io(what: impl Display, error: impl Into<io::Error>) -> Error {
        Error::new(what, explain(&error.into()))
    }
}

/// An error's text without the number that std appends.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// An error's text, and the remedy where a resource limit was reached.
pub fn explain(error: &io::Error) -> String {
    let text = cause(error);
    match advice(error) {
        Some(advice) if !text.ends_with(')') => format!("{text} {advice}"),
        _ => text,
    }
}

/// An error's text with a remedy: its own, as [`crate::open_file`] gives it, that of a resource limit, or else this one.
pub fn explain_or(error: &io::Error, remedy: &str) -> String {
    let text = cause(error);
    match advice(error) {
        _ if text.ends_with(')') => text,
        advice => format!("{text} {}", advice.as_deref().unwrap_or(remedy)),
    }
}

/// The remedy for an error, in brackets, where a resource limit was reached, or a systemd unit forbids it.
pub fn advice(error: &io::Error) -> Option<String> {
    let limit = match (error.kind(), error.raw_os_error().map(Errno::from_raw_os_error)) {
        (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => Some("(free space on its disk)"),
        (_, Some(Errno::MFILE | Errno::NFILE)) => {
            Some("(raise its limit of open files: ulimit -n, LimitNOFILE=)")
        }
        _ => None,
    };
    limit.map(String::from).or_else(|| of_unit(error))
}

/// A failure whose text is complete: operation, object, cause, and what to do.
pub fn failed(why: impl Display) -> Error {
    Error::Failed(why.to_string())
}
