//! An export, or the log that is held, as a router sends it.

use crate::{
    config::Router,
    export::{Export, Unfit},
    hub::{Sent, Turn},
    record::{Record, Records},
    ssh::{Answer, Fault, LONGEST_ANSWER, Session},
};

/// What the router sent, and what was wrong on the way.
type Taken = Result<(Vec<u8>, Option<Unfit>), Fault>;

/// Takes an export. It is this router's turn until what was sent is archived.
pub async fn take(
    session: &Session,
    router: &Router,
    turn: Turn,
    first: Option<Export>,
) -> Result<Sent, Fault> {
    let (bytes, fault) = beside(session, router, exports(router)).await?;
    Ok(Sent { bytes, fault, first, address: session.ipv4(), turn })
}

/// An export.
pub async fn export(session: &Session, router: &Router) -> Taken {
    first_known(session, router, exports(router)).await
}

/// The log that the router holds.
pub async fn log(session: &Session, router: &Router) -> Result<Vec<Record>, Fault> {
    beside(session, router, &["/log print"]).await.map(|(bytes, _)| records(&bytes))
}

/// RouterOS 6 shows secrets unless told not to, RouterOS 7 hides them unless told not to.
fn exports(router: &Router) -> &'static [&'static str] {
    match router.show_sensitive {
        true => &["/export terse show-sensitive", "/export terse"],
        false => &["/export terse hide-sensitive", "/export terse"],
    }
}

/// In this connection, or in one more where the router lets only one command run at a time in each.
async fn beside(session: &Session, router: &Router, commands: &[&str]) -> Taken {
    match first_known(session, router, commands).await {
        Err(Fault::NoChannel(_)) => {
            let second = Session::open(router).await?;
            let taken = first_known(&second, router, commands).await;
            second.close().await;
            taken
        }
        taken => taken,
    }
}

/// With the first of the commands that this version understands.
async fn first_known(session: &Session, router: &Router, commands: &[&str]) -> Taken {
    let mut taken = Vec::new();
    for command in commands {
        let Answer { bytes, is_closed, is_cut } = session.run(command, router.patience()).await?;
        if is_cut {
            return Ok((bytes, Some(Unfit::TooLarge(LONGEST_ANSWER))));
        }
        if !is_closed {
            return Ok((bytes, Some(Unfit::NotClosed)));
        }
        taken = bytes;
        if !is_unknown(&taken) {
            break;
        }
    }
    Ok((taken, None))
}

/// Whether the router does not know a word of the command, as RouterOS 6 `show-sensitive`. After any
/// other answer a command that shows less would make a change of what it leaves out.
fn is_unknown(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]);
    let first = answer.trim_start().lines().next().unwrap_or_default();
    let said = ["expected end of command", "bad command name", "bad parameter", "syntax error"];
    said.iter().any(|words| first.starts_with(words))
}

/// The records of a log that was printed.
pub fn records(answer: &[u8]) -> Vec<Record> {
    let mut records = Records::default();
    let mut all = records.feed(answer);
    all.extend(records.flush());
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_router_does_not_know() {
        for answer in [
            "expected end of command (line 1 column 15)\r\n",
            "\r\nbad parameter show-sensitive (line 1 column 15)\r\n",
            "syntax error (line 1 column 15)",
        ] {
            assert!(is_unknown(answer.as_bytes()), "{answer}");
        }
        for answer in [
            "",
            "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n",
            "not enough permissions (9)\r\n",
            "interrupted\r\n",
            "\r\n# software id = X\r\n/x add comment=\"syntax error\"",
        ] {
            assert!(!is_unknown(answer.as_bytes()), "{answer}");
        }
    }
}
