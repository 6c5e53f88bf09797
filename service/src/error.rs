//! Why a program ends before it is told to.

use std::{
    fmt::Display,
    io::{self, ErrorKind},
};

use rustix::io::Errno;
use shm_layout::cause;

/// Why a program ends.
#[derive(Debug)]
pub enum Error {
    /// Whoever read the output has gone: `| head` has its lines. Not a failure.
    Closed,
    /// A failure, in one line: operation, object, cause, and what to do.
    Failed(String),
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

    /// A failure of the system to do something.
    pub fn io(what: impl Display, error: impl Into<io::Error>) -> Error {
        Error::new(what, explain(&error.into()))
    }
}

/// An error's text, and what to do where something has run out.
pub fn explain(error: &io::Error) -> String {
    let text = cause(error);
    advice(error).map_or(text.clone(), |advice| format!("{text} {advice}"))
}

/// What to do where something has run out.
pub fn advice(error: &io::Error) -> Option<&'static str> {
    const FILES: [Errno; 2] = [Errno::MFILE, Errno::NFILE];
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("(make room on its disk)"),
        _ if FILES.map(Errno::raw_os_error).map(Some).contains(&error.raw_os_error()) => {
            Some("(let it open more: ulimit -n, LimitNOFILE=)")
        }
        _ => None,
    }
}

/// A failure that says all itself.
pub fn failed(why: impl Display) -> Error {
    Error::Failed(why.to_string())
}
