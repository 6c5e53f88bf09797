//! Mail. An [`SmtpClient`] sends a mail to a server now. A [`Mailer`] writes it to a spool on disk first and sends it from
//! there in a thread of its own, oldest first: it survives an outage of the mail server, and a server that hangs delays
//! only that thread.
//!
//! It trusts its configuration and the mail server's certificate authority; the text of mail comes from the network and is
//! encoded.
#![forbid(unsafe_code)]

mod mailer;
mod message;
mod options;
mod smtp;
mod spool;

pub use mailer::{Mailer, PreparedMailer};
pub use options::{MailOptions, Tls, is_local_host};
pub use smtp::{Failure, Mail, SmtpClient};
