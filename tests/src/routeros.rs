//! A RouterOS to log in to, in this process: the SSH server of russh, with RouterOS's banner, its algorithms, its two
//! log forms, its exports, and what goes wrong with them.

use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Preferred, SshId, cipher, kex, mac};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 6.49: old algorithms, old log lines, secrets shown unless hidden.
    V6,
    /// 7.14.
    V7,
}

/// What goes wrong, until it is taken back.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The export ends after so many bytes.
    pub cut: Option<usize>,
    /// Lines at the end of the export, such as `#interrupted`.
    pub marks: Vec<String>,
    /// Logins are refused.
    pub refuse: bool,
    /// Connections are taken, and nothing is ever said.
    pub silent: bool,
    /// The export is never sent.
    pub hang: bool,
    /// `follow-only` does not know `where`.
    pub no_where: bool,
    /// Only so many channels are opened in a connection.
    pub channels: Option<usize>,
    /// Nothing about changes is logged.
    pub no_rule: bool,
    /// The user may not see secrets.
    pub no_secrets: bool,
}

/// What can be changed and looked at while it runs.
pub struct State {
    /// Lines of configuration, terse.
    pub lines: Vec<String>,
    /// The log so far.
    pub log: Vec<String>,
    /// What goes wrong.
    pub faults: Faults,
    /// Commands that were run.
    pub commands: Vec<String>,
    /// Logins that succeeded.
    pub logins: usize,
    /// Logins that were refused.
    pub refused: usize,
    /// How often a client had to enlarge a window: RouterOS drops what did not fit before.
    pub enlarged: usize,
    clock: u64,
    password: String,
    key: Option<PublicKey>,
}

/// The router; it vanishes with the test.
pub struct Router {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its host key's fingerprint.
    pub host_key: String,
    key: PrivateKey,
    version: Version,
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
    /// A router with a small configuration; `admin` logs in with `secret`.
    pub fn start(version: Version) -> Router {
        Router::start_at(version, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at another address.
    pub fn start_at(version: Version, ip: IpAddr) -> Router {
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
            commands: Vec::new(),
            logins: 0,
            refused: 0,
            enlarged: 0,
            clock: 0,
            password: "secret".into(),
            key: None,
        };
        let (log, drop) = (broadcast::channel(10_000).0, broadcast::channel(1).0);
        let shared = Arc::new(Shared { version, state: Mutex::new(state), log, drop });
        let key = new_key();
        let host_key = fingerprint(&key);
        let (address, listening) = listen(&shared, key.clone(), SocketAddr::new(ip, 0));
        Router { address, host_key, key, version, shared, listening: Mutex::new(listening) }
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
        self.state().lines.push(line.into());
        let message = match self.version {
            Version::V6 => format!("item added by {user}"),
            Version::V7 => {
                format!("item added by ssh:{user}@192.0.2.7/terminal/action:1 (*1 = {line})")
            }
        };
        self.log("system,info", &message);
    }

    /// Changes the configuration without a word.
    pub fn add_silently(&self, line: &str) {
        self.state().lines.push(line.into());
    }

    /// Writes to the log, in the form of its version.
    pub fn log(&self, topics: &str, message: &str) {
        let line = {
            let mut state = self.state();
            state.clock += 1;
            let (minute, second) = (state.clock / 60 % 60, state.clock % 60);
            let time = match self.version {
                Version::V6 => format!("nov/22 10:{minute:02}:{second:02}"),
                Version::V7 => format!(" 2026-11-22 10:{minute:02}:{second:02}"),
            };
            let line = format!("{time} {topics} {message}");
            state.log.push(line.clone());
            line
        };
        self.send(format!("{line}\r\n").as_bytes());
    }

    /// Sends bytes to whoever follows the log.
    pub fn send(&self, bytes: &[u8]) {
        let _ = self.shared.log.send(bytes.to_vec());
    }

    /// Logins that succeeded, and those that were refused.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.logins, state.refused)
    }

    /// How many exports it was asked for.
    pub fn exports(&self) -> usize {
        self.state().commands.iter().filter(|command| command.starts_with("/export")).count()
    }

    /// Ends all connections without a word, as a cable does.
    pub fn cut(&self) {
        let _ = self.shared.drop.send(());
    }

    /// Is gone.
    pub fn shut_down(&self) {
        self.listening.lock().unwrap().abort();
        self.cut();
    }

    /// Is back, with this host key or with its own; its log is empty then, as after a boot.
    pub fn boot(&mut self, key: Option<PrivateKey>) {
        self.key = key.unwrap_or_else(|| self.key.clone());
        self.host_key = fingerprint(&self.key);
        self.state().log.clear();
        let (_, listening) = listen(&self.shared, self.key.clone(), self.address);
        *self.listening.lock().unwrap() = listening;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A key pair; RouterOS has RSA by default, and ed25519 is made in no time.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

/// As the configuration wants it.
pub fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

fn listen(shared: &Arc<Shared>, key: PrivateKey, address: SocketAddr) -> (SocketAddr, AbortHandle) {
    let preferred = match shared.version {
        Version::V7 => Preferred::DEFAULT,
        Version::V6 => Preferred {
            kex: vec![kex::DH_G14_SHA1].into(),
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
        while let Ok((stream, _)) = listener.accept().await {
            let silent = shared.state.lock().unwrap().faults.silent;
            let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
            tokio::spawn(async move {
                let mut drop = shared.drop.subscribe();
                if silent {
                    let _ = drop.recv().await;
                    return;
                }
                let client = Client { shared: Arc::clone(&shared), channels: 0 };
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

struct Client {
    shared: Arc<Shared>,
    channels: usize,
}

impl Client {
    fn judge(&self, right: bool) -> Auth {
        let mut state = self.shared.state.lock().unwrap();
        if right && !state.faults.refuse {
            state.logins += 1;
            return Auth::Accept;
        }
        state.refused += 1;
        Auth::reject()
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let right = password == self.shared.state.lock().unwrap().password;
        Ok(self.judge(right && user.split('+').next() == Some("admin")))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let right = {
            let state = self.shared.state.lock().unwrap();
            state.key.as_ref().is_some_and(|known| known.key_data() == key.public_key.key_data())
        };
        Ok(self.judge(right && user == "admin"))
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels += 1;
        let most = self.shared.state.lock().unwrap().faults.channels.unwrap_or(usize::MAX);
        if self.channels <= most {
            reply.accept().await;
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

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(data).into_owned();
        session.channel_success(channel)?;
        let handle = session.handle();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shared.run(&command, channel, &handle).await });
        Ok(())
    }
}

impl Shared {
    async fn run(&self, command: &str, channel: ChannelId, handle: &Handle) {
        let mut followed = self.log.subscribe();
        let faults = {
            let mut state = self.state.lock().unwrap();
            state.commands.push(command.into());
            state.faults.clone()
        };
        if command.starts_with("/log print follow-only")
            && !(faults.no_where && command.contains("where"))
        {
            while let Ok(bytes) = followed.recv().await {
                if handle.data(channel, bytes).await.is_err() {
                    return;
                }
            }
            return;
        }
        drop(followed);
        if faults.hang && command.starts_with("/export") {
            return;
        }
        let mut answer = self.answer(command, &faults).into_bytes();
        if command.starts_with("/export") {
            answer.truncate(faults.cut.unwrap_or(usize::MAX));
        }
        // As RouterOS: data, exit status, close; status 0 even for errors.
        let _ = handle.data(channel, answer).await;
        let _ = handle.exit_status_request(channel, 0).await;
        let _ = handle.close(channel).await;
    }

    fn answer(&self, command: &str, faults: &Faults) -> String {
        let state = self.state.lock().unwrap();
        let end = "\r\n";
        match command.split_once(" terse").unwrap_or((command, "")) {
            ("/export", flag) => {
                if self.version == Version::V6 && flag == " show-sensitive" {
                    return format!("expected end of command (line 1 column 15){end}");
                }
                let header = match self.version {
                    Version::V6 => "# nov/22/2026 10:00:00 by RouterOS 6.49.18",
                    Version::V7 => "# 2026-11-22 10:00:00 by RouterOS 7.14.2",
                };
                // The header differs each time, as a clock does.
                let header =
                    header.replace("10:00:00", &format!("10:00:{:02}", state.commands.len() % 60));
                let hidden = match (self.version, flag) {
                    (Version::V6, flag) => flag == " hide-sensitive",
                    (Version::V7, flag) => flag != " show-sensitive",
                };
                let mut text = format!("{header}{end}# software id = SSXB-J5Q7{end}#{end}");
                for line in &state.lines {
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
            ("/system logging print", _) => {
                let topics = if faults.no_rule { "error" } else { "info" };
                format!(" 0  *  topics={topics} prefix=\"\" action=memory{end}")
            }
            ("/user print detail", _) => format!(
                "Flags: X - disabled{end} 0   ;;; system default user{end}     name=\"admin\" group=audit address=\"\"{end}"
            ),
            ("/user group print detail", _) => format!(
                " 0 name=\"audit\" policy=ssh,read,{}!local,!telnet,!ftp,!reboot,!write,{end}      !policy,!test skin=default{end}",
                if faults.no_secrets { "!sensitive," } else { "sensitive," }
            ),
            ("/system clock print", _) => {
                format!("  time: 00:00:00{end}  date: 2001-01-01{end}  gmt-offset: +00:00{end}")
            }
            _ => format!("bad command name (line 1 column 1){end}"),
        }
    }
}
