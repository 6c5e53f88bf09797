//! The control socket of the daemon, `.control` in the directory of the archive: the command `export` requests an export
//! there.
//!
//! A connection is one request: a line of JSON with the name of a router, `{"export":"core1"}`, or what else is in [`Request`]. The answer is a line of
//! JSON, too. The socket has mode 0600, and a process of a user other than root and the daemon's is refused, whatever the
//! mode is by now. Size, time and number of requests are bounded.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{FileTypeExt, lchown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_service::{Condition, Identity, explain};
use rustix::{
    fs::Mode,
    process::{geteuid, umask},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net,
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::session::{AnswerTo, ExportAnswer};

/// Bytes of a request and of an answer, at most.
pub const MAX_LINE: u64 = 64 << 10;
/// Requests at the same time, at most.
const MAX_CLIENTS: usize = 16;
/// The time limit for the line of a request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// The time limit for an export with all that it may wait for.
pub const ANSWER_TIME: Duration = Duration::from_secs(900);

/// A request of one router's export, of the result of the last reload, or of why a file cannot be written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub export: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reload: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub faults: bool,
}

/// What is requested.
#[derive(Debug, PartialEq, Eq)]
pub enum Requested {
    /// Of the router of this name.
    Export(String),
    /// The result of the last reload.
    Reload,
    /// Why a file of the archive cannot be written.
    Faults,
}

/// It, and where the answer goes.
pub type ControlRequest = (Requested, AnswerTo);

pub fn path(archive: &Path) -> PathBuf {
    archive.join(".control")
}

/// Creates the socket. The caller holds the lock of the archive, so that a socket which is there belongs to no daemon.
pub fn listen(archive: &Path, identity: Option<&Identity>) -> Result<UnixListener, String> {
    let path = path(archive);
    let failure = |error| format!("create {}: {}", path.display(), aw_service::cause(&error));
    match fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(&path).map_err(failure)?,
        Ok(_) => {
            return Err(format!(
                "create {}: it is not a socket ({})",
                path.display(),
                aw_service::move_away(&path)
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failure(error)),
    }
    // Nothing follows a link here: the directory belongs to the user that the daemon becomes, which root does not trust.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(&path);
    umask(mask);
    let listener = bound.map_err(failure)?;
    if let Some(Identity { user, group, .. }) = identity {
        lchown(&path, Some(user.as_raw()), Some(group.as_raw())).map_err(failure)?;
    }
    listener.set_nonblocking(true).map_err(failure)?;
    Ok(listener)
}

/// Accepts requests and passes them on, as long as the daemon runs.
pub async fn serve(listener: UnixListener, requests: mpsc::Sender<ControlRequest>) {
    let (clients, mut fault) = (Arc::new(Semaphore::new(MAX_CLIENTS)), Condition::default());
    let listener = match net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            fault.begins(format_args!("serve the control socket: {}", explain(&error)));
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                fault.ends("accept a connection to the control socket: works again");
                // Without a permit the stream is closed, which the client reports.
                let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else { continue };
                let requests = requests.clone();
                tokio::spawn(async move {
                    serve_client(stream, requests).await;
                    drop(permit);
                });
            }
            Err(error) => {
                let why = explain(&error);
                fault.begins(format_args!("accept a connection to the control socket: {why}"));
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_client(mut stream: net::UnixStream, requests: mpsc::Sender<ControlRequest>) {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    if !peer.is_ok_and(|user| user == 0 || user == geteuid().as_raw()) {
        return;
    }
    let answer = answer(&mut stream, requests).await;
    let mut line = serde_json::to_string(&answer).unwrap_or_default();
    line.push('\n');
    let _ = timeout(REQUEST_TIME, stream.write_all(line.as_bytes())).await;
}

async fn answer(
    stream: &mut net::UnixStream,
    requests: mpsc::Sender<ControlRequest>,
) -> ExportAnswer {
    let (receive, _send) = stream.split();
    let (mut line, mut receive) = (String::new(), BufReader::new(receive.take(MAX_LINE)));
    let read = timeout(REQUEST_TIME, receive.read_line(&mut line)).await;
    let request = match read {
        Ok(Ok(_)) if line.ends_with('\n') => serde_json::from_str::<Request>(&line),
        _ => return ExportAnswer::failed("the request is not a complete line"),
    };
    let requested = match request {
        Ok(request) if request.reload => Requested::Reload,
        Ok(request) if request.faults => Requested::Faults,
        Ok(Request { export, .. }) if export.is_empty() => {
            return ExportAnswer::failed("the request: it names no router");
        }
        Ok(request) => Requested::Export(request.export),
        Err(error) => return ExportAnswer::failed(format!("the request: {error}")),
    };
    let (to, answered) = oneshot::channel();
    if requests.send((requested, to)).await.is_err() {
        return ExportAnswer::failed("the daemon ends");
    }
    let mut rest = [0; 16];
    let mut receive = receive.into_inner();
    receive.set_limit(MAX_LINE);
    tokio::select! {
        answer = timeout(ANSWER_TIME, answered) => match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => ExportAnswer::failed("the router was removed or changed in the configuration, or its task ended"),
            Err(_) => ExportAnswer::failed(format!("no result within {} s", ANSWER_TIME.as_secs())),
        },
        // Any more bytes, or the end: the client does not wait.
        _ = receive.read(&mut rest) => ExportAnswer::failed("the client ended"),
    }
}

#[cfg(test)]
#[path = "control/tests.rs"]
mod tests;
