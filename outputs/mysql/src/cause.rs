//! What went wrong between us and a server, in words.

use std::{
    error::Error as _,
    io::{
        self,
        ErrorKind::{TimedOut, WouldBlock},
    },
};

use mysql::{DriverError, Error};

/// The server's own words, or why it gave none.
pub fn cause(error: &Error) -> String {
    match error {
        Error::MySqlError(error) => error.message.clone(),
        Error::DriverError(DriverError::CouldNotConnect(Some((_, why, _)))) => {
            // The operation is named already, and the system's number for it helps nobody.
            why.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
        Error::DriverError(DriverError::ConnectTimeout) => "it does not answer".into(),
        Error::DriverError(error) => error.to_string(),
        Error::TlsError(error) => format!("TLS: {error}"),
        error if timed_out(error) => "it does not answer".into(),
        error => {
            system_error(error).map_or(error.to_string(), |it| shm_layout::cause(it).to_string())
        }
    }
}

/// Whether the server was silent for as long as we wait.
pub fn timed_out(error: &Error) -> bool {
    system_error(error).is_some_and(|error| matches!(error.kind(), TimedOut | WouldBlock))
}

fn system_error(error: &Error) -> Option<&io::Error> {
    match error {
        Error::IoError(error) => Some(error),
        Error::CodecError(codec) => codec.source().and_then(|it| it.downcast_ref()),
        _ => None,
    }
}
