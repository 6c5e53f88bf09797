//! What a server or the connection to it reports, in words, and what can be done about it.

use std::io::{self, ErrorKind};

use crate::{connection::Error, schema::NO_SUCH_TABLE};

/// Why a transaction failed.
pub enum TransactionError {
    Server(Error),
    /// The saved checkpoint is not the one that was read: another program writes for this host and ring.
    CheckpointChanged,
    /// The connection broke during the commit: the transaction may be committed or not.
    CommitUnknown(Error),
    /// The table of events is missing.
    LogMissing,
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        TransactionError::Server(error)
    }
}

/// What aw-mysql needs, also to create its tables.
const RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW";
/// Number of the error of a read-only server.
pub const READ_ONLY: u16 = 1290;
const NO_SUCH_HOST: &str = "no such host";

/// The message of the server, or of the connection.
pub fn cause(error: &Error) -> String {
    let text = match error {
        Error::Server(error) => error.message.clone(),
        Error::Protocol(why) => why.clone(),
        Error::Io(_) if timed_out(error) => "the server does not answer".into(),
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "the server ended the connection".into()
        }
        Error::Io(error) => aw_service::cause(error),
        Error::Each(_) => at_each("", error, cause),
    };
    if text.to_lowercase().ends_with("name or service not known") {
        return NO_SUCH_HOST.into();
    }
    text
}

/// `at SERVER: why`, of each server that failed; `server` is the name of the only one.
pub fn at_each(server: &str, error: &Error, why: impl Fn(&Error) -> String) -> String {
    let at = |server: &str, error: &Error| format!("at {server}: {}", why(error));
    let Error::Each(faults) = error else { return at(server, error) };
    faults.iter().map(|(server, error)| at(server, error)).collect::<Vec<_>>().join("; ")
}

/// The message, and the remedy for what an administrator can mend.
pub fn cause_and_remedy(error: &Error, database: &str) -> String {
    let Error::Server(server) = error else {
        return connection_fault(&cause(error));
    };
    let remedy = match server.code {
        1045 | 1698 => " (set user and password in the section [addrwatch] of the file of --config; aw-mysql reads it at its start: systemctl restart aw-mysql)".into(),
        1044 | 1142 => format!(" (GRANT {RIGHTS} ON `{database}`.* TO the user)"),
        1049 => format!(" (CREATE DATABASE `{database}`)"),
        NO_SUCH_TABLE => " (rename it back)".into(),
        _ => String::new(),
    };
    cause(error) + &remedy
}

/// A cause that [`cause`] returned, with the remedy if no connection can be made.
pub fn connection_fault(cause: &str) -> String {
    let cause = aw_peer::certificate_fault(cause, "ssl-ca in the file of --config");
    aw_service::connection_fault(
        &cause,
        "host, port or socket in --config",
        "check that host and port are those of the server: another one may answer",
    )
}

/// Whether the time limit of an answer was exceeded.
pub fn timed_out(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// Whether the server has closed the connection.
pub fn disconnected(error: &Error) -> bool {
    match error {
        // Idle too long, too many connections, shutdown: MySQL sends these before it closes.
        Error::Server(error) => [1053, 1927, 4031].contains(&error.code),
        Error::Io(cause) => !timed_out(error) && cause.kind() != io::ErrorKind::InvalidData,
        Error::Protocol(_) | Error::Each(_) => false,
    }
}

/// Whether the server is a replica, or was made read-only.
pub fn is_read_only(error: &Error) -> bool {
    matches!(error, Error::Server(error) if [READ_ONLY, 1836].contains(&error.code))
}

/// Whether another server may do what this one did not: it does not answer, stops, has no room, has no more for this user
/// (1226), is a replica, or has lost its cluster (1047, of Galera).
pub fn is_of_one_server(error: &Error) -> bool {
    const CODES: [u16; 10] = [1021, 1030, 1040, 1047, 1053, 1114, 1226, 1927, 3032, 4031];
    match error {
        Error::Server(server) => CODES.contains(&server.code) || is_read_only(error),
        Error::Io(_) | Error::Protocol(_) => true,
        Error::Each(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ServerError;

    /// The message, the guide and the shipped file name the same rights.
    #[test]
    fn rights() {
        let guide = include_str!("../../../docs/guide/history.md");
        let shipped = include_str!("../../../contrib/mysql.cnf");
        let error = Error::Server(ServerError { code: 1142, message: "denied".into() });
        let message = cause_and_remedy(&error, "addrwatch");
        for text in [guide, shipped, &message] {
            assert!(text.contains(&format!("GRANT {RIGHTS} ON ")), "{text}");
        }
    }

    #[test]
    fn certificates_have_remedies() {
        for (why, remedy) in [
            (
                "invalid peer certificate: UnknownIssuer",
                "(set ssl-ca in the file of --config to the certificate of its authority)",
            ),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "and set ssl-ca in the file of --config to it)",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"a\"",
                "(name the server as its certificate does",
            ),
        ] {
            let error = Error::Io(io::Error::new(io::ErrorKind::InvalidData, why));
            let fault = cause_and_remedy(&error, "addrwatch");
            assert!(fault.starts_with(why) && fault.contains(remedy), "{fault}");
        }
    }
}
