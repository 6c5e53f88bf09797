//! A socket before that of a MySQL or MariaDB server, which cuts a connection at a statement: before the server gets it, or before its
//! client gets the answer. The client is identified as the test's user.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use tempfile::TempDir;

/// The command of a statement in a packet.
const QUERY: u8 = 3;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server does not get the statement.
    Before,
    /// The server has carried it out, and the client does not know it.
    After,
}

/// The beginning of a statement, and the cut.
type Armed = Option<(&'static str, Cut)>;

/// The proxy; its threads end with their connections, or with the test.
pub struct MysqlProxy {
    directory: TempDir,
    armed: Arc<Mutex<Armed>>,
}

impl MysqlProxy {
    /// Before the server with this socket. Only connections are cut that have named this table.
    pub fn start(server: PathBuf, table: &'static str) -> MysqlProxy {
        let directory = tempfile::tempdir_in("/tmp").expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("socket")).expect("a new socket");
        let armed: Arc<Mutex<Armed>> = Arc::default();
        let of_connections = Arc::clone(&armed);
        spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, armed) = (UnixStream::connect(&server), Arc::clone(&of_connections));
                let Ok(server) = server else { continue }; // it is down: the client sees an end
                spawn(move || drop(forward((client, server), table, &armed)));
            }
        });
        MysqlProxy { directory, armed }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        Path::join(self.directory.path(), "socket")
    }

    /// Cuts, once, at the next statement that begins so.
    pub fn cut(&self, statement: &'static str, cut: Cut) {
        *self.armed.lock().expect("no panic") = Some((statement, cut));
    }

    /// Whether that has happened.
    pub fn has_cut(&self) -> bool {
        self.armed.lock().expect("no panic").is_none()
    }
}

/// Forwards until one side ends.
fn forward(
    (mut client, mut server): (UnixStream, UnixStream),
    table: &str,
    armed: &Mutex<Armed>,
) -> std::io::Result<()> {
    let close = |streams: [&UnixStream; 2]| {
        streams.into_iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    };
    let is_cut = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let is_muted = Arc::clone(&is_cut);
    spawn(move || {
        let mut bytes = [0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if is_muted.load(Ordering::SeqCst) || to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        close([&from, &to]);
    });
    let mut has_named = false;
    loop {
        let mut packet = vec![0; 4];
        client.read_exact(&mut packet)?;
        let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
        packet.resize(4 + length, 0);
        client.read_exact(&mut packet[4..])?;
        let statement = match packet.get(4) {
            Some(&QUERY) => String::from_utf8_lossy(&packet[5..]).into_owned(),
            _ => String::new(),
        };
        let is_wanted = |(begin, _): &mut (&str, Cut)| has_named && statement.starts_with(*begin);
        match armed.lock().expect("no panic").take_if(is_wanted) {
            Some((_, Cut::Before)) => {
                close([&client, &server]);
                return Ok(());
            }
            Some((_, Cut::After)) => is_cut.store(true, Ordering::SeqCst),
            None => {}
        }
        has_named |= statement.contains(table);
        server.write_all(&packet)?;
    }
}
