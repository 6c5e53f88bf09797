//! Mail. An [`SmtpClient`] sends a mail to a server now. A [`Mailer`] writes it to a spool on disk first and sends it from
//! there in a thread of its own, oldest first: it survives an outage of the mail server, and a server that hangs delays
//! only that thread.
//!
//! It trusts its configuration and the mail server's certificate authority; the text of mail comes from the network and is
//! encoded.
#![forbid(unsafe_code)]

mod connection;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/notify.rs"]
pub mod fuzzed;
mod hello;
pub mod http;
mod login;
mod mailer;
mod message;
mod oauth;
mod options;
mod program;
mod smtp;
mod spool;
mod token;
mod token_file;

pub use aw_peer::is_local_host;
pub use mailer::{MailFaults, Mailer, PreparedMailer};
pub use message::sendmail_message;
pub use oauth::OauthOptions;
pub use options::{MailOptions, Tls, read_secret};
pub use program::run_program;
pub use smtp::{Failure, Mail, SmtpClient, check_addresses};
pub use token::MailSecrets;
pub use token_file::TokenFile;
