//! Fetches an export, or the stored log, from a router.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::Router,
    config_export::{Export, ExportFault},
    facts::HistoryEntry,
    log_record::{LogAssembler, LogRecord},
    ssh::{Answer, MAX_ANSWER, SshConnection, SshFault},
};

/// The number of routers that send a log or an export at the same time, each of up to 16 MiB.
const TURNS: usize = 16;
/// The same for routers whose last export failed: those that do not answer must not delay the others.
const FAILED_TURNS: usize = 4;

/// Records of a stored log that are kept, the newest ones. Routers store 1000 lines unless they are configured otherwise.
const MAX_RECORDS: usize = 100_000;

/// Limits how many routers send at the same time.
#[derive(Clone)]
pub struct FetchTurns {
    normal: Arc<Semaphore>,
    failed: Arc<Semaphore>,
}

/// Permission to fetch, until it is dropped.
pub type Turn = Option<OwnedSemaphorePermit>;

impl Default for FetchTurns {
    fn default() -> FetchTurns {
        let turns = |number| Arc::new(Semaphore::new(number));
        FetchTurns { normal: turns(TURNS), failed: turns(FAILED_TURNS) }
    }
}

impl FetchTurns {
    /// Waits for a turn; `failed` is set if the router's last export failed.
    pub async fn next(&self, failed: bool) -> Turn {
        let turns = if failed { &self.failed } else { &self.normal };
        Arc::clone(turns).acquire_owned().await.ok() // a semaphore that is never closed
    }
}

/// An export as the router sent it.
#[derive(Debug)]
pub struct FetchedExport {
    pub bytes: Vec<u8>,
    pub fault: Option<ExportFault>,
    /// The export before, if this one is to confirm it.
    pub unconfirmed: Option<Export>,
    /// The address of the router, if it is an IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Held until the export is recorded.
    pub turn: Turn,
    /// The router's history, if the log names no user.
    pub history: Vec<HistoryEntry>,
}

/// The output, and a fault of the transfer.
type Output = Result<(Vec<u8>, Option<ExportFault>), SshFault>;

pub async fn fetch_export(
    connection: &SshConnection,
    router: &Router,
    turn: Turn,
    unconfirmed: Option<Export>,
) -> Result<FetchedExport, SshFault> {
    let (bytes, fault) = run_beside(connection, router, export_commands(router)).await?;
    Ok(FetchedExport {
        bytes,
        fault,
        unconfirmed,
        address: connection.ipv4(),
        turn,
        history: Vec::new(),
    })
}

pub async fn export(connection: &SshConnection, router: &Router) -> Output {
    run_supported(connection, router, export_commands(router)).await
}

pub async fn stored_log(
    connection: &SshConnection,
    router: &Router,
) -> Result<Vec<LogRecord>, SshFault> {
    run_beside(connection, router, &["/log print"]).await.map(|(bytes, _)| records(&bytes))
}

/// RouterOS 6 exports secrets by default, RouterOS 7 hides them by default.
fn export_commands(router: &Router) -> &'static [&'static str] {
    match router.show_sensitive {
        true => &["/export terse show-sensitive", "/export terse"],
        false => &["/export terse hide-sensitive", "/export terse"],
    }
}

/// Runs a command beside the log in this connection, or in a second one if the router allows only one command in each.
pub async fn run_beside(connection: &SshConnection, router: &Router, commands: &[&str]) -> Output {
    match run_supported(connection, router, commands).await {
        Err(SshFault::NoChannel(_)) => {
            let second = Box::pin(SshConnection::open(router)).await?; // rare, and large
            let output = run_supported(&second, router, commands).await;
            second.close().await;
            output
        }
        output => output,
    }
}

/// Runs the first command that this version of RouterOS supports.
async fn run_supported(connection: &SshConnection, router: &Router, commands: &[&str]) -> Output {
    let mut output = Vec::new();
    for command in commands {
        let Answer { bytes, is_closed, is_cut } =
            connection.run(command, router.export_timeout()).await.map_err(name_timeout)?;
        if is_cut {
            return Ok((bytes, Some(ExportFault::TooLarge(MAX_ANSWER))));
        }
        if !is_closed {
            return Ok((bytes, Some(ExportFault::NotClosed)));
        }
        output = bytes;
        if !is_unsupported(&output) {
            break;
        }
    }
    Ok((output, None))
}

/// Names the key of the configuration that limits the time.
fn name_timeout(fault: SshFault) -> SshFault {
    match fault {
        SshFault::Late { text, is_ended } => {
            let text = format!("{text} (if the router needs longer, raise timeout)");
            SshFault::Late { text, is_ended }
        }
        fault => fault,
    }
}

/// Whether the router does not support a word of the command, such as `show-sensitive` on RouterOS 6. After any other
/// error the next command is not tried: without secrets its export would look like a change.
fn is_unsupported(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]);
    let first = answer.trim_start().lines().next().unwrap_or_default();
    let errors = ["expected end of command", "bad command name", "bad parameter", "syntax error"];
    errors.iter().any(|error| first.starts_with(error))
}

pub fn records(answer: &[u8]) -> Vec<LogRecord> {
    let (mut assembler, mut all) = (LogAssembler::default(), Vec::new());
    for part in answer.chunks(64 * 1024) {
        all.extend(assembler.feed(part));
        all.drain(..all.len().saturating_sub(MAX_RECORDS));
    }
    all.extend(assembler.flush());
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_records_of_a_long_log() {
        let line = |n: usize| format!(" 10:00:00 system,info n{n}\r\n");
        let log: String = (0..MAX_RECORDS + 50_000).map(line).collect();
        let records = records(log.as_bytes());
        assert!(records.len() <= MAX_RECORDS + 1, "{}", records.len());
        assert_eq!(records.last().unwrap().message, format!("n{}", MAX_RECORDS + 49_999));
    }

    #[test]
    fn unsupported_commands() {
        for answer in [
            "expected end of command (line 1 column 15)\r\n",
            "\r\nbad parameter show-sensitive (line 1 column 15)\r\n",
            "syntax error (line 1 column 15)",
        ] {
            assert!(is_unsupported(answer.as_bytes()), "{answer}");
        }
        for answer in [
            "",
            "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n",
            "not enough permissions (9)\r\n",
            "interrupted\r\n",
            "\r\n# software id = X\r\n/x add comment=\"syntax error\"",
        ] {
            assert!(!is_unsupported(answer.as_bytes()), "{answer}");
        }
    }
}
