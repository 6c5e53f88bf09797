//! A RouterOS to log in to, in this process: the SSH server of russh, with RouterOS's banner, its algorithms, its two
//! log forms, its exports, and what goes wrong with them.

use crate::sftp_server::SftpServer;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, ChannelWriteHalf, MethodKind, MethodSet, Preferred, SshId, cipher, kex, mac,
};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 6.49: old algorithms, old log lines, secrets shown unless hidden.
    V6,
    /// 7.14.
    V7,
}

/// Faults, until they are removed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The export ends after this many bytes.
    pub cut: Option<usize>,
    /// The fault affects the next export only.
    pub once: bool,
    /// Data beyond the client's window is dropped, and the channel closed without an error.
    pub starve: bool,
    /// The answer to an export with a flag.
    pub odd: Option<String>,
    /// Only this many logins succeed.
    pub logins: Option<usize>,
    /// Its only key exchange is that of 1024 bits; from the next boot on.
    pub group1: bool,
    /// This line of configuration is added while the log is printed, and is not in the print.
    pub between: Option<(String, String)>,
    /// Lines at the end of the export, such as `#interrupted`.
    pub marks: Vec<String>,
    /// Logins are refused.
    pub refuse: bool,
    /// The connection ends during so many logins.
    pub cut_logins: usize,
    /// Connections are accepted, and nothing is ever sent.
    pub silent: bool,
    /// The export is never sent.
    pub hang: bool,
    /// An export takes this long. As on RouterOS it goes on until its channel or connection is closed, whatever the client
    /// waits for.
    pub delay: Option<Duration>,
    /// The menus that fail, one in each of the next exports; none if it is empty. A part of the lines may be there, as in
    /// published exports.
    pub failing: VecDeque<String>,
    /// A line of the configuration differs in each export.
    pub counter: bool,
    /// `follow-only` does not support `where`.
    pub no_where: bool,
    /// Only this many channels are opened in a connection.
    pub channels: Option<usize>,
    /// Nothing about changes is logged.
    pub no_rule: bool,
    /// Its logging rules, as `print detail` prints them, in place of the default.
    pub logging: Option<String>,
    /// The user may not see secrets.
    pub no_secrets: bool,
    /// The user's group has the policies that a backup needs.
    pub may_write: bool,
    /// The same, and `ftp`, without which RouterOS accepts the session and closes the channel on the request of the
    /// subsystem `sftp` (jeff-nasseri/mikrotik-mcp #113, #131).
    pub may_transfer: bool,
    /// The connection breaks in the middle of the next transfer.
    pub cut_transfer: bool,
    /// Files have this many bytes less than their size says.
    pub lost: usize,
    /// Files are not removed.
    pub keep_files: bool,
    /// Commands with this text are refused, and their channels stay open.
    pub refused: Option<String>,
    /// So long it does nothing else once a client has closed a channel: it confirms nothing.
    pub slow_close: Option<Duration>,
}

/// State that tests can read and change while it runs.
pub struct State {
    /// Lines of configuration, terse.
    pub lines: Vec<String>,
    /// The log so far.
    pub log: Vec<String>,
    /// Its faults.
    pub faults: Faults,
    /// The version in the header of the export; that of [`Version`] if it is empty.
    pub version: String,
    /// More lines of the header: model, serial number.
    pub header: Vec<String>,
    /// Answers to other commands, such as `/user print detail`.
    pub prints: HashMap<String, String>,
    /// Answers in place of those, once.
    pub prints_once: HashMap<String, String>,
    /// These commands are answered once they are removed from here, or never if their channel is closed before.
    pub held: Vec<String>,
    /// How many of them run.
    pub holding: usize,
    /// The files of `/file`, by name.
    pub files: HashMap<String, Vec<u8>>,
    /// Commands that were run.
    pub commands: Vec<String>,
    /// Logins that succeeded.
    pub logins: usize,
    /// The user of the last login by password.
    pub login: String,
    /// The user who may log in.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Logins that were refused.
    pub refused: usize,
    /// `/ip ssh forwarding-enabled`, which is off by default.
    pub forwards: bool,
    /// Connections that it forwarded.
    pub forwarded: usize,
    /// The addresses that connected.
    pub peers: Vec<IpAddr>,
    /// Exports that run.
    pub running: usize,
    /// The most exports that ran at the same time.
    pub at_once: usize,
    /// How often a client had to enlarge a window: RouterOS drops data beyond it.
    pub enlarged: usize,
    /// Channels of commands that neither side has closed, of all connections, and the most there were.
    open: HashSet<(u64, ChannelId)>,
    most_open: usize,
    clock: u64,
    key: Option<PublicKey>,
}

impl State {
    fn opened(&mut self, client: u64, channel: ChannelId) {
        self.open.insert((client, channel));
        self.most_open = self.most_open.max(self.open.len());
    }
}

/// The router; it ends with the test.
pub struct Router {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its host key's fingerprint.
    pub host_key: String,
    key: PrivateKey,
    shared: Arc<Shared>,
    listening: Mutex<AbortHandle>,
}

struct Shared {
    version: Version,
    state: Mutex<State>,
    log: broadcast::Sender<Vec<u8>>,
    /// Ends all connections.
    drop: broadcast::Sender<()>,
}

/// One event loop for all routers of a test.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("an event loop")
    })
}

impl Router {
    /// A router with a small configuration; `admin` logs in with `secret`, see [`State::user`], and so does `audit`, the
    /// guide's user.
    pub fn start(version: Version) -> Router {
        Router::start_at(version, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at another address.
    pub fn start_at(version: Version, ip: IpAddr) -> Router {
        Router::start_on(version, SocketAddr::new(ip, 0))
    }

    /// The same at another address and port.
    pub fn start_on(version: Version, address: SocketAddr) -> Router {
        let lines = [
            "/interface bridge add name=loopback",
            "/ip address add address=192.0.2.1/24 interface=ether1",
            "/ip firewall filter add action=accept chain=input protocol=icmp",
            "/ip firewall filter add action=drop chain=input in-interface=ether1",
            "/system identity set name=core1",
        ];
        let state = State {
            lines: lines.map(str::to_owned).to_vec(),
            log: Vec::new(),
            faults: Faults::default(),
            version: String::new(),
            header: Vec::new(),
            prints: HashMap::new(),
            prints_once: HashMap::new(),
            held: Vec::new(),
            holding: 0,
            files: HashMap::new(),
            commands: Vec::new(),
            logins: 0,
            login: String::new(),
            user: "admin".into(),
            password: "secret".into(),
            refused: 0,
            forwards: false,
            forwarded: 0,
            peers: Vec::new(),
            running: 0,
            at_once: 0,
            enlarged: 0,
            open: HashSet::new(),
            most_open: 0,
            clock: 0,
            key: None,
        };
        let (log, drop) = (broadcast::channel(10_000).0, broadcast::channel(1).0);
        let shared = Arc::new(Shared { version, state: Mutex::new(state), log, drop });
        let key = new_key();
        let host_key = fingerprint(&key);
        let (address, listening) = listen(&shared, key.clone(), address);
        Router { address, host_key, key, shared, listening: Mutex::new(listening) }
    }

    /// What can be changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Lets this key log in.
    pub fn trust(&self, key: &PublicKey) {
        self.state().key = Some(key.clone());
    }

    /// Adds a line of configuration and writes the log line of it.
    pub fn add(&self, user: &str, line: &str) {
        self.shared.add(user, line);
    }

    /// The same without a connected client.
    pub fn add_unheard(&self, user: &str, line: &str) {
        self.shared.note(user, line);
    }

    /// Changes the configuration without a log line.
    pub fn add_silently(&self, line: &str) {
        self.state().lines.push(line.into());
    }

    /// Writes to the log, in the form of its version.
    pub fn log(&self, topics: &str, message: &str) {
        let line = self.shared.write(topics, message);
        self.send(format!("{line}\r\n").as_bytes());
    }

    /// Sends bytes to the clients that follow the log.
    pub fn send(&self, bytes: &[u8]) {
        self.shared.send(bytes);
    }

    /// Logins that succeeded, and those that were refused.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.logins, state.refused)
    }

    /// The number of requested exports.
    pub fn exports(&self) -> usize {
        self.state().commands.iter().filter(|command| command.starts_with("/export")).count()
    }

    /// The most channels of commands that were open at the same time; from now on counted again.
    pub fn most_open(&self) -> usize {
        let mut state = self.state();
        let open = state.open.len();
        std::mem::replace(&mut state.most_open, open)
    }

    /// Channels of commands that are open.
    pub fn open(&self) -> usize {
        self.state().open.len()
    }

    /// Interrupts all connections without closing them, like a pulled cable.
    pub fn cut(&self) {
        let _ = self.shared.drop.send(());
    }

    /// Stops it.
    pub fn shut_down(&self) {
        self.listening.lock().unwrap().abort();
        self.cut();
    }

    /// Starts it again, with this host key or with its own; its log is empty, as after a boot.
    pub fn boot(&mut self, key: Option<PrivateKey>) {
        self.key = key.unwrap_or_else(|| self.key.clone());
        self.host_key = fingerprint(&self.key);
        self.state().log.clear();
        self.plug();
    }

    /// Starts it again, unchanged.
    pub fn plug(&self) {
        let (_, listening) = listen(&self.shared, self.key.clone(), self.address);
        *self.listening.lock().unwrap() = listening;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A key pair; RouterOS has RSA by default, and ed25519 is generated faster.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

/// In the format of the configuration.
pub fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

fn listen(shared: &Arc<Shared>, key: PrivateKey, address: SocketAddr) -> (SocketAddr, AbortHandle) {
    let group1 = shared.state.lock().unwrap().faults.group1;
    let preferred = match shared.version {
        Version::V7 => Preferred::DEFAULT,
        Version::V6 => Preferred {
            kex: vec![if group1 { kex::DH_G1_SHA1 } else { kex::DH_G14_SHA1 }].into(),
            cipher: vec![cipher::AES_128_CBC].into(),
            mac: vec![mac::HMAC_SHA1].into(),
            ..Preferred::DEFAULT
        },
    };
    let config = Arc::new(server::Config {
        server_id: SshId::Standard("SSH-2.0-ROSSSH".into()),
        methods: MethodSet::from(&[MethodKind::Password, MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        preferred,
        ..server::Config::default()
    });
    let shared = Arc::clone(shared);
    let listener = runtime().block_on(async {
        for _ in 0..100 {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("{address} cannot be bound");
    });
    let address = listener.local_addr().expect("an address");
    let task = runtime().spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let silent = {
                let mut state = shared.state.lock().unwrap();
                state.peers.push(from.ip());
                state.faults.silent
            };
            let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
            tokio::spawn(async move {
                let mut drop = shared.drop.subscribe();
                if silent {
                    let _ = drop.recv().await;
                    return;
                }
                let client = Client {
                    shared: Arc::clone(&shared),
                    number: CLIENTS.fetch_add(1, Ordering::Relaxed),
                    channels: HashMap::new(),
                    running: HashMap::new(),
                    transfers: HashMap::new(),
                };
                let Ok(running) = server::run_stream(config, stream, client).await else { return };
                let handle = running.handle();
                tokio::select! {
                    _ = running => {}
                    _ = drop.recv() => {
                        let _ = handle.disconnect(russh::Disconnect::ByApplication, String::new(), String::new()).await;
                    }
                }
            });
        }
    });
    (address, task.abort_handle())
}

/// Clients so far.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

struct Client {
    shared: Arc<Shared>,
    number: u64,
    channels: HashMap<ChannelId, Arc<ChannelWriteHalf<Msg>>>,
    /// Commands that run end when these are dropped.
    running: HashMap<ChannelId, watch::Sender<()>>,
    transfers: HashMap<ChannelId, SftpServer>,
}

impl Client {
    fn judge(&self, right: bool) -> Result<Auth, russh::Error> {
        let mut state = self.shared.state.lock().unwrap();
        if state.faults.cut_logins > 0 {
            state.faults.cut_logins -= 1;
            return Err(russh::Error::Disconnect);
        }
        let full = state.faults.logins.is_some_and(|most| state.logins >= most);
        if right && !state.faults.refuse && !full {
            state.logins += 1;
            return Ok(Auth::Accept);
        }
        state.refused += 1;
        Ok(Auth::reject())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().open.retain(|(client, _)| *client != self.number);
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let right = {
            let mut state = self.shared.state.lock().unwrap();
            state.login = user.into();
            let name = user.split('+').next().unwrap_or_default();
            password == state.password && (name == state.user || name == "audit")
        };
        self.judge(right)
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let right = {
            let state = self.shared.state.lock().unwrap();
            let known = state.key.as_ref();
            user == state.user
                && known.is_some_and(|known| known.key_data() == key.public_key.key_data())
        };
        self.judge(right)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let most = self.shared.state.lock().unwrap().faults.channels.unwrap_or(usize::MAX);
        if self.channels.len() < most {
            self.shared.state.lock().unwrap().opened(self.number, channel.id());
            self.channels.insert(channel.id(), Arc::new(channel.split().1));
            reply.accept().await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if !self.shared.state.lock().unwrap().forwards {
            return Ok(()); // which refuses it
        }
        let port = u16::try_from(port).unwrap_or_default();
        if let Ok(mut stream) = TcpStream::connect((host, port)).await {
            self.shared.state.lock().unwrap().forwarded += 1;
            reply.accept().await;
            tokio::spawn(async move {
                let mut channel = channel.into_stream();
                let _ = tokio::io::copy_bidirectional(&mut channel, &mut stream).await;
            });
        }
        Ok(())
    }

    async fn window_adjusted(
        &mut self,
        _: ChannelId,
        _: u32,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.shared.state.lock().unwrap().enlarged += 1;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.running.remove(&channel);
        let slow = {
            let mut state = self.shared.state.lock().unwrap();
            state.open.remove(&(self.number, channel));
            state.faults.slow_close
        };
        tokio::time::sleep(slow.unwrap_or_default()).await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let may = self.shared.state.lock().unwrap().faults.may_transfer;
        if name == "sftp" && may {
            self.transfers.insert(channel, SftpServer::default());
            session.channel_success(channel)?;
        } else {
            session.close(channel)?;
            self.shared.state.lock().unwrap().open.remove(&(self.number, channel));
        }
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(transfer) = self.transfers.get_mut(&channel) else { return Ok(()) };
        let answers = {
            let mut state = self.shared.state.lock().unwrap();
            let answers = transfer.feed(data, &state.files, state.faults.lost);
            if answers.has_read && std::mem::take(&mut state.faults.cut_transfer) {
                return Err(russh::Error::Disconnect);
            }
            answers
        };
        session.data(channel, answers.bytes)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(data).into_owned();
        {
            let mut state = self.shared.state.lock().unwrap();
            if state.faults.refused.as_ref().is_some_and(|text| command.contains(text)) {
                state.commands.push(command);
                return session.channel_failure(channel);
            }
        }
        session.channel_success(channel)?;
        let handle = session.handle();
        let shared = Arc::clone(&self.shared);
        let (followed, writer) = (shared.log.subscribe(), self.channels.get(&channel).cloned());
        let (running, closed) = watch::channel(());
        self.running.insert(channel, running);
        let number = self.number;
        tokio::spawn(async move {
            shared.run(&command, channel, writer, followed, closed, &handle).await;
            shared.state.lock().unwrap().open.remove(&(number, channel));
        });
        Ok(())
    }
}

/// Counts a command that runs.
struct Counted<'a>(&'a Shared, fn(&mut State) -> &mut usize);

impl Counted<'_> {
    fn new(shared: &Shared, count: fn(&mut State) -> &mut usize) -> Counted<'_> {
        let mut state = shared.state.lock().unwrap();
        *count(&mut state) += 1;
        state.at_once = state.at_once.max(state.running);
        Counted(shared, count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *(self.1)(&mut self.0.state.lock().unwrap()) -= 1;
    }
}

impl Shared {
    fn send(&self, bytes: &[u8]) {
        let _ = self.log.send(bytes.to_vec());
    }

    fn add(&self, user: &str, line: &str) {
        let line = self.note(user, line);
        self.send(format!("{line}\r\n").as_bytes());
    }

    fn note(&self, user: &str, line: &str) -> String {
        self.state.lock().unwrap().lines.push(line.into());
        let message = match self.version {
            Version::V6 => format!("item added by {user}"),
            Version::V7 => {
                format!("item added by ssh:{user}@192.0.2.7/terminal/action:1 (*1 = {line})")
            }
        };
        self.write("system,info", &message)
    }

    fn write(&self, topics: &str, message: &str) -> String {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        let (minute, second) = (state.clock / 60 % 60, state.clock % 60);
        let time = match self.version {
            Version::V6 => format!("nov/22 10:{minute:02}:{second:02}"),
            Version::V7 => format!(" 2026-11-22 10:{minute:02}:{second:02}"),
        };
        let line = format!("{time} {topics} {message}");
        state.log.push(line.clone());
        line
    }

    async fn run(
        &self,
        command: &str,
        channel: ChannelId,
        writer: Option<Arc<ChannelWriteHalf<Msg>>>,
        mut followed: broadcast::Receiver<Vec<u8>>,
        mut closed: watch::Receiver<()>,
        handle: &Handle,
    ) {
        let faults = {
            let mut state = self.state.lock().unwrap();
            state.commands.push(command.into());
            let faults = state.faults.clone();
            if command.starts_with("/export") {
                state.faults.failing.pop_front();
                if faults.once {
                    state.faults = Faults::default();
                }
            }
            faults
        };
        if command.starts_with("/log print follow-only")
            && !(faults.no_where && command.contains("where"))
        {
            loop {
                let bytes = tokio::select! {
                    _ = closed.changed() => return,
                    bytes = followed.recv() => bytes,
                };
                let Ok(bytes) = bytes else { return };
                if handle.data(channel, bytes).await.is_err() {
                    return;
                }
            }
        }
        drop(followed);
        let running =
            command.starts_with("/export").then(|| Counted::new(self, |state| &mut state.running));
        if running.is_some() {
            let forever = Duration::from_secs(u32::MAX.into());
            let time = if faults.hang { forever } else { faults.delay.unwrap_or_default() };
            tokio::select! {
                _ = closed.changed() => return,
                () = tokio::time::sleep(time) => {}
            }
        }
        let is_held = || self.state.lock().unwrap().held.iter().any(|held| held == command);
        if is_held() {
            let _holding = Counted::new(self, |state| &mut state.holding);
            while is_held() {
                tokio::select! {
                    _ = closed.changed() => return,
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            }
        }
        let files = self.change_files(command, &faults);
        let mut answer = files.unwrap_or_else(|| self.answer(command, &faults)).into_bytes();
        if command.starts_with("/export") {
            answer.truncate(faults.cut.unwrap_or(usize::MAX));
        }
        if let Some(writer) = writer.filter(|_| faults.starve) {
            let mut rest = &*answer;
            while let Some((now, later)) =
                rest.split_at_checked(rest.len().min(writer.writable_packet_size().await))
                && !now.is_empty()
            {
                let _ = writer.data_bytes(now.to_vec()).await;
                rest = later;
            }
            answer.clear();
        }
        if let Some((user, line)) = faults.between.filter(|_| command == "/log print") {
            self.state.lock().unwrap().faults.between = None;
            self.add(&user, &line);
        }
        // As RouterOS: data, exit status, close; status 0 even for errors.
        let _ = handle.data(channel, answer).await;
        let _ = handle.exit_status_request(channel, 0).await;
        let _ = handle.close(channel).await;
    }

    /// The answer to a command that changes files. Each is logged, as RouterOS logs what an SSH command does; whether it
    /// logs these is not published, so this is the worse case.
    fn change_files(&self, command: &str, faults: &Faults) -> Option<String> {
        const DENIED: &str = "not enough permissions (9)\r\n";
        let (action, answer) = if let Some(options) = command.strip_prefix("/system backup save ") {
            if !faults.may_write {
                return Some(DENIED.into());
            }
            let name = options.split(' ').find_map(|word| word.strip_prefix("name="))?;
            let mut state = self.state.lock().unwrap();
            // Binary: the magic number of a backup that is not encrypted, and all of the configuration.
            let mut file = vec![0x88, 0xac, 0xa1, 0xb1];
            file.extend((0..200_000_u32).flat_map(u32::to_le_bytes));
            file.extend(state.lines.join("\n").into_bytes());
            state.files.insert(format!("{name}.backup"), file);
            ("backup saved", "Configuration backup saved\r\n")
        } else if let Some(name) = command.strip_prefix("/file remove ") {
            if !faults.may_write {
                return Some(DENIED.into());
            }
            let mut state = self.state.lock().unwrap();
            if faults.keep_files {
                return Some("failure: the file is in use\r\n".into());
            }
            if state.files.remove(name).is_none() {
                return Some("no such item (4)\r\n".into());
            }
            ("file removed", "")
        } else {
            return None;
        };
        let user = self.state.lock().unwrap().user.clone();
        let message = match self.version {
            Version::V6 => format!("{action} by {user}"),
            Version::V7 => format!("{action} by ssh-cmd:{user}@127.0.0.1/action:1 ({command})"),
        };
        let line = self.write("system,info", &message);
        self.send(format!("{line}\r\n").as_bytes());
        Some(answer.into())
    }

    fn answer(&self, command: &str, faults: &Faults) -> String {
        let mut state = self.state.lock().unwrap();
        let end = "\r\n";
        if let Some(text) = state.prints_once.remove(command) {
            return text.replace('\n', end);
        }
        if let Some(text) = state.prints.get(command) {
            return text.replace('\n', end);
        }
        match command.split_once(" terse").unwrap_or((command, "")) {
            ("/export", flag) => {
                if let Some(odd) = faults.odd.as_ref().filter(|_| !flag.is_empty()) {
                    return format!("{odd}{end}");
                }
                if self.version == Version::V6 && flag == " show-sensitive" {
                    return format!("expected end of command (line 1 column 15){end}");
                }
                let (date, version) = match self.version {
                    Version::V6 => ("nov/22/2026", "6.49.18"),
                    Version::V7 => ("2026-11-22", "7.14.2"),
                };
                let version = if state.version.is_empty() { version } else { &state.version };
                let header = format!("# {date} 10:00:00 by RouterOS {version}");
                // The header differs each time, as a clock does.
                let header =
                    header.replace("10:00:00", &format!("10:00:{:02}", state.commands.len() % 60));
                let hidden = match (self.version, flag) {
                    (Version::V6, flag) => flag == " hide-sensitive",
                    (Version::V7, flag) => flag != " show-sensitive",
                };
                let mut text = format!("{header}{end}# software id = SSXB-J5Q7{end}#{end}");
                text.extend(state.header.iter().map(|line| format!("{line}{end}")));
                let failing = faults.failing.front().filter(|menu| !menu.is_empty());
                if let Some(menu) = failing {
                    text += &match self.version {
                        Version::V6 => format!("#error exporting {menu}{end}"),
                        Version::V7 => {
                            let path = menu[1..].replace(' ', "/");
                            format!("#error exporting \"/{path}\" (timeout){end}")
                        }
                    };
                }
                if faults.counter {
                    let count = state.commands.len();
                    text += &format!("/system script set counter source={count}{end}");
                }
                let exported = state.lines.iter().filter(|line| {
                    failing.is_none_or(|menu| !line.starts_with(&format!("{menu} ")))
                });
                for line in exported {
                    let words =
                        line.split(' ').filter(|word| !(hidden && word.starts_with("password=")));
                    text += &(words.collect::<Vec<_>>().join(" ") + end);
                }
                for mark in &faults.marks {
                    text += &(mark.clone() + end);
                }
                text
            }
            ("/log print", _) => state.log.iter().map(|line| format!("{line}{end}")).collect(),
            ("/system logging print" | "/system logging print detail", _) => {
                if let Some(rules) = &faults.logging {
                    return rules.replace('\n', end);
                }
                let topics = if faults.no_rule { "error" } else { "info" };
                format!(" 0  *  topics={topics} prefix=\"\" action=memory{end}")
            }
            // As published prints of RouterOS 6 and 7 up to 7.17 have them, wrapped.
            ("/system logging action print" | "/system logging action print detail", _) => [
                "Flags: * - default ",
                " 0 * name=\"memory\" target=memory memory-lines=1000 memory-stop-on-full=no ",
                "",
                " 1 * name=\"disk\" target=disk disk-file-name=\"flash/log\" ",
                "     disk-lines-per-file=1000 disk-file-count=2 disk-stop-on-full=no ",
                "",
                " 2 * name=\"echo\" target=echo remember=yes ",
                "",
                " 3 * name=\"remote\" target=remote remote=192.0.2.9 remote-port=514 ",
                "     src-address=0.0.0.0 bsd-syslog=no syslog-time-format=bsd-syslog ",
                "     syslog-facility=daemon syslog-severity=auto ",
                "",
                " 4   name=\"audit\" target=memory memory-lines=500 memory-stop-on-full=no ",
                "",
            ]
            .join(end),
            ("/user print detail", _) => format!(
                "Flags: X - disabled{end} 0   ;;; system default user{end}     name=\"{}\" group=audit address=\"\"{end}",
                state.user
            ),
            ("/user group print detail", _) => format!(
                " 0 name=\"audit\" policy=ssh,read,{}!local,!telnet,!reboot,{end}      {} skin=default{end}",
                if faults.no_secrets { "!sensitive," } else { "sensitive," },
                match (faults.may_write, faults.may_transfer) {
                    (true, true) => "ftp,write,policy,test",
                    (true, false) => "!ftp,write,policy,test",
                    (false, _) => "!ftp,!write,!policy,!test",
                }
            ),
            ("/system clock print", _) => {
                format!("  time: 00:00:00{end}  date: 2001-01-01{end}  gmt-offset: +00:00{end}")
            }
            _ => format!("bad command name (line 1 column 1){end}"),
        }
    }
}
