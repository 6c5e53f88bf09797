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
    let io: &io::Error = match error {
        Error::MySqlError(error) => return error.message.clone(),
        Error::IoError(error) => error,
        Error::CodecError(codec) => match codec.source().and_then(|it| it.downcast_ref()) {
            Some(error) => error,
            None => return codec.to_string(),
        },
        Error::DriverError(DriverError::CouldNotConnect(Some((_, why, _)))) => {
            // The operation is named already, and the system's number for it helps nobody.
            return why.split(" (os error").next().unwrap_or_default().to_lowercase();
        }
        Error::DriverError(DriverError::ConnectTimeout) => return "it does not answer".into(),
        Error::DriverError(error) => return error.to_string(),
        Error::TlsError(error) => return format!("TLS: {error}"),
        error => return error.to_string(),
    };
    match io.kind() {
        TimedOut | WouldBlock => "it does not answer".into(),
        _ => shm_layout::cause(io).to_string(),
    }
}
