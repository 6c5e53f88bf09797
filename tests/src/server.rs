//! Servers that tests start: a real program with a new directory and a free port, which ends with the test.

use crate::rig::{Finished, Run, skip};
use rustix::process::Signal;
use std::cell::RefCell;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::Mutex;
use tempfile::TempDir;

/// State of every server: its directory, and its process while it runs.
pub struct ServerProcess {
    directory: TempDir,
    run: RefCell<Option<Run>>,
}

/// A server. An implementation describes the program; starting, stopping and crashing it are the same for all.
pub trait Server {
    /// Its directory and process.
    fn process(&self) -> &ServerProcess;

    /// The command that starts it in the foreground.
    fn server_command(&self) -> Command;

    /// Returns true once it serves its clients.
    fn answers(&self, run: &Run) -> bool;

    /// Its directory.
    fn directory(&self) -> &Path {
        self.process().directory.path()
    }

    /// A file in its directory.
    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Starts it, also after a stop or a kill; returns once it answers. Panics with its output when it ends before that.
    #[track_caller]
    fn start_again(&mut self) {
        let command = self.server_command();
        let what = format!("an answer of {}", command.get_program().display());
        let run = Run::start(command);
        run.wait_until(&what, || self.answers(&run));
        self.process().run.replace(Some(run));
    }

    /// Ends it by SIGTERM.
    #[track_caller]
    fn stop(&mut self) -> Finished {
        self.process().run.take().expect("it runs").stop()
    }

    /// Ends it by SIGKILL.
    #[track_caller]
    fn kill(&mut self) {
        self.process().run.take().expect("it runs").kill();
    }

    /// Sends it a signal: SIGSTOP makes it hang.
    #[track_caller]
    fn signal(&self, signal: Signal) {
        self.process().run.borrow().as_ref().expect("it runs").signal(signal);
    }
}

impl ServerProcess {
    /// Not started yet, with its files in this directory.
    pub fn new(directory: TempDir) -> Self {
        ServerProcess { directory, run: RefCell::default() }
    }
}

/// Returns true if these programs are installed; if not, prints the Debian package and that the test is skipped.
pub fn installed(programs: &[&str], package: &str) -> bool {
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    missing
        .inspect(|program| skip(&format!("there is no {program} here (package {package})")))
        .is_none()
}

/// Returns true if a process listens on this port of the loopback.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A free port of the loopback that no other test uses until this process ends. It is below those that the kernel gives to
/// connections (ip_local_port_range): while a server is down no other process gets its port, not even by connecting to it.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    for step in 0..COUNT {
        let port = (FIRST + (id() * 37 + step) % COUNT) as u16;
        let name = SocketAddr::from_abstract_name(format!("aw-test-port-{port}")).expect("short");
        let Ok(claim) = UnixDatagram::bind_addr(&name) else { continue };
        let at = ("127.0.0.1", port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            TAKEN.lock().unwrap().push(claim);
            return port;
        }
    }
    panic!("no free port");
}
