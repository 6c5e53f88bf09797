//! A cable to a server, which can be pulled: connected programs receive nothing more, as from a machine that is off. Or only what the
//! server sends is lost.

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
    /// What the server sends is lost.
    muted: Arc<AtomicBool>,
    /// For each connection, whether it forwards.
    alive: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Cable {
    /// To this server.
    pub fn to(server: SocketAddr) -> Cable {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let [pulled, muted] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let alive = Arc::<Mutex<Vec<_>>>::default();
        let cable = Cable {
            address,
            pulled: Arc::clone(&pulled),
            muted: Arc::clone(&muted),
            alive: Arc::clone(&alive),
        };
        spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                if pulled.load(Relaxed) {
                    continue; // and closed
                }
                let carries = Arc::new(AtomicBool::new(true));
                alive.lock().unwrap().push(Arc::clone(&carries));
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let (same, muted) = (Arc::clone(&carries), Arc::clone(&muted));
                spawn(move || carry(from, to, &same, &AtomicBool::new(false)));
                spawn(move || carry(server, client, &carries, &muted));
            }
        });
        cable
    }

    /// Forwards nothing any more, without closing connections.
    pub fn pull(&self) {
        self.pulled.store(true, Relaxed);
        self.alive.lock().unwrap().drain(..).for_each(|carries| carries.store(false, Relaxed));
    }

    /// Forwards to the server, and loses what it sends from now on, such as acknowledgements.
    pub fn mute(&self) {
        self.muted.store(true, Relaxed);
    }

    /// Forwards what the server sends again, also to clients that have missed some of it.
    pub fn unmute(&self) {
        self.muted.store(false, Relaxed);
    }

    /// New connections are forwarded again.
    pub fn plug(&self) {
        self.pulled.store(false, Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, carries: &AtomicBool, muted: &AtomicBool) {
    let mut bytes = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let is_carried = carries.load(Relaxed) && !muted.load(Relaxed);
        if is_carried && to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    if carries.load(Relaxed) {
        let _ = to.shutdown(Shutdown::Both);
    }
}
