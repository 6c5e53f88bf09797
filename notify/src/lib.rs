//! Mail for whoever runs the network. A message is written to a spool on disk first and sent from
//! there, oldest first, so that it outlives a mail server's absence, and a mail server that hangs
//! holds up nobody but the thread that talks to it.
//!
//! It trusts its configuration and the mail server's certificate authority; what messages say comes
//! from strangers and is encoded.
#![forbid(unsafe_code)]

mod mailer;
mod message;
mod options;
mod spool;

pub use mailer::{Mailer, Prepared, Report};
pub use options::{MailOptions, Tls};
