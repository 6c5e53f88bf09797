//! An export, or the log that is held, as a router sends it.

use std::sync::Arc;

use crate::{
    config::Router,
    export::{Export, Unfit},
    hub::Sent,
    record::{Record, Records},
    ssh::{Answer, Fault, LONGEST_ANSWER, Session},
};

/// Takes an export, with the first of the commands that this version understands.
pub async fn take(
    session: Arc<Session>,
    router: Arc<Router>,
    first: Option<Export>,
) -> Option<Result<Sent, Fault>> {
    let mut taken = export(&session, &router).await;
    if let Err(Fault::NoChannel(_)) = taken {
        // It lets only one command run at a time in a connection: one more connection.
        taken = match Session::open(&router).await {
            Ok(second) => {
                let taken = export(&second, &router).await;
                second.close().await;
                taken
            }
            Err(fault) => Err(fault),
        };
    }
    Some(taken.map(|(bytes, fault)| Sent { bytes, fault, first }))
}

/// An export as the router sent it, and what was wrong on the way.
pub async fn export(session: &Session, router: &Router) -> Result<(Vec<u8>, Option<Unfit>), Fault> {
    // RouterOS 6 shows secrets unless told not to, RouterOS 7 hides them unless told not to.
    let commands = match router.show_sensitive {
        true => ["/export terse show-sensitive", "/export terse"],
        false => ["/export terse hide-sensitive", "/export terse"],
    };
    let mut refused = (Vec::new(), None);
    for command in commands {
        let Answer { bytes, is_closed, is_cut } = session.run(command, router.patience()).await?;
        if is_cut {
            return Ok((bytes, Some(Unfit::TooLarge(LONGEST_ANSWER))));
        }
        if !is_closed {
            return Ok((bytes, Some(Unfit::NotClosed)));
        }
        let is_export = bytes.trim_ascii_start().starts_with(b"#");
        refused = (bytes, None);
        if is_export {
            break;
        }
    }
    Ok(refused)
}

/// The records of a log that was printed.
pub fn records(answer: &Answer) -> Vec<Record> {
    let mut records = Records::default();
    let mut all = records.feed(&answer.bytes);
    all.extend(records.flush());
    all.dedup();
    all
}
