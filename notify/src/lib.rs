//! Mail for whoever runs the network. A [`Courier`] hands a mail to a server; a [`Mailer`] writes it to a
//! spool on disk first and sends it from there, oldest first, so that it outlives a mail server's absence,
//! and a mail server that hangs holds up nobody but the thread that talks to it.
//!
//! It trusts its configuration and the mail server's certificate authority; what messages say comes
//! from strangers and is encoded.
#![forbid(unsafe_code)]

mod courier;
mod mailer;
mod message;
mod options;
mod spool;

pub use courier::{Courier, Failure, Mail};
pub use mailer::{Mailer, Prepared, Report};
pub use options::{MailOptions, Tls, is_here};
