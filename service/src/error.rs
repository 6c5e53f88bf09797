//! Why a program ends before it is told to.

use std::{
    fmt::Display,
    io::{self, ErrorKind},
};

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
            _ => Error::new(format_args!("write to {to}"), cause(&error)),
        }
    }

    /// A failure of the system to do something.
    pub fn io(what: impl Display, error: impl Into<io::Error>) -> Error {
        Error::new(what, cause(&error.into()))
    }
}

/// A failure that says all itself.
pub fn failed(why: impl Display) -> Error {
    Error::Failed(why.to_string())
}
