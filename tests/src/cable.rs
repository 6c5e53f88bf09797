//! A cable to a server, which can be pulled: connected programs receive nothing more, as from a machine that is off.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// Its end at the client; the other end is the server's.
pub struct Cable {
    /// Where to connect to instead.
    pub address: SocketAddr,
    pulled: Arc<AtomicBool>,
    /// For each connection, whether it forwards.
    alive: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Cable {
    /// To this server.
    pub fn to(server: SocketAddr) -> Cable {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (pulled, alive) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<_>>>::default());
        let cable = Cable { address, pulled: Arc::clone(&pulled), alive: Arc::clone(&alive) };
        spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                if pulled.load(Relaxed) {
                    continue; // and closed
                }
                let carries = Arc::new(AtomicBool::new(true));
                alive.lock().unwrap().push(Arc::clone(&carries));
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let same = Arc::clone(&carries);
                spawn(move || carry(from, to, &same));
                spawn(move || carry(server, client, &carries));
            }
        });
        cable
    }

    /// Forwards nothing any more, without closing connections.
    pub fn pull(&self) {
        self.pulled.store(true, Relaxed);
        self.alive.lock().unwrap().drain(..).for_each(|carries| carries.store(false, Relaxed));
    }

    /// New connections are forwarded again.
    pub fn plug(&self) {
        self.pulled.store(false, Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, carries: &AtomicBool) {
    let mut bytes = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if carries.load(Relaxed) && to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    if carries.load(Relaxed) {
        let _ = to.shutdown(Shutdown::Both);
    }
}
