//! A server that logs clients in as MySQL 8 and 9 do, with `caching_sha2_password` (which MariaDB does not have), and then passes
//! their statements on to a MariaDB. It asks each client for the password itself ("full authentication").

use crate::mariadb::MariaDb;
use crate::rig::{run, run_with};
use crate::server::Server;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

const PLUGIN: &[u8] = b"caching_sha2_password";
/// "Perform full authentication"; a client then asks for the public key, unless the connection is safe.
const FULL_AUTHENTICATION: &[u8] = &[1, 4];
const PUBLIC_KEY_REQUEST: &[u8] = &[2];
const ACCESS_DENIED: &[u8] = b"\xff\x15\x04#28000Access denied for user";

/// Where it listens.
pub struct MysqlLogin {
    /// On the loopback.
    pub port: u16,
    /// On this machine.
    pub socket: PathBuf,
}

/// What a session needs.
struct Settings {
    /// Of the MariaDB, where the user has no password.
    server: PathBuf,
    key: PathBuf,
    password: String,
}

impl MysqlLogin {
    /// Starts it in front of this server, for users with this password.
    pub fn start(server: &MariaDb, password: &str) -> MysqlLogin {
        let key = server.path("login.key");
        let mut command = Command::new("openssl");
        command.args(["genrsa", "-out"]).arg(&key).arg("2048");
        run(command).ok();
        let settings = Settings { server: server.path("socket"), key, password: password.into() };
        let (settings, socket) = (Arc::new(settings), server.path("login.sock"));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let unix = UnixListener::bind(&socket).expect("our own directory");
        let port = tcp.local_addr().expect("it listens").port();
        let of_unix = settings.clone();
        thread::spawn(move || {
            for client in tcp.incoming().map(|it| it.expect("a client")) {
                let (settings, other) =
                    (settings.clone(), client.try_clone().expect("a descriptor"));
                thread::spawn(move || session(client, other, &settings));
            }
        });
        thread::spawn(move || {
            for client in unix.incoming().map(|it| it.expect("a client")) {
                let (settings, other) =
                    (of_unix.clone(), client.try_clone().expect("a descriptor"));
                thread::spawn(move || session(client, other, &settings));
            }
        });
        MysqlLogin { port, socket }
    }
}

/// A client, from its login to its end.
fn session(
    mut client: impl Read + Write,
    mut to_client: impl Write + Send + 'static,
    settings: &Settings,
) {
    let Ok(Some(mut server)) = log_in(&mut client, settings) else { return };
    let mut from_server = server.try_clone().expect("a descriptor");
    thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    let _ = io::copy(&mut client, &mut server);
    let _ = server.shutdown(std::net::Shutdown::Both);
}

fn log_in(client: &mut (impl Read + Write), settings: &Settings) -> io::Result<Option<UnixStream>> {
    let mut server = UnixStream::connect(&settings.server)?;
    let (nonce, greeting) = greeting_of_mysql(&receive(&mut server)?.1);
    send(client, 0, &greeting)?;
    let (_, response) = receive(client)?;
    send(client, 2, FULL_AUTHENTICATION)?;
    let (mut number, mut answer) = receive(client)?;
    if answer == PUBLIC_KEY_REQUEST {
        let public = openssl(&["pkey", "-pubout", "-in"], &settings.key, b"");
        send(client, number + 1, &[&[1], &public[..]].concat())?;
        let (next, encrypted) = receive(client)?;
        let padding = ["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:oaep", "-inkey"];
        let masked = openssl(&padding, &settings.key, &encrypted);
        answer = masked.iter().zip(nonce.iter().cycle()).map(|(a, b)| a ^ b).collect();
        number = next;
    }
    if answer != [settings.password.as_bytes(), &[0]].concat() {
        send(client, number + 1, ACCESS_DENIED)?;
        return Ok(None);
    }
    send(&mut server, 1, &response_to_mariadb(&response))?;
    let (_, accepted) = receive(&mut server)?;
    send(client, number + 1, &accepted)?;
    Ok((accepted[0] == 0).then_some(server))
}

/// The challenge in MariaDB's greeting, and the greeting as MySQL 9 sends it.
fn greeting_of_mysql(greeting: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let version = 1 + greeting[1..].iter().position(|byte| *byte == 0).expect("a version");
    let rest = &greeting[version + 1..];
    // Connection id, challenge, 0, capabilities, character set, status, capabilities, length, 10 reserved, challenge, 0.
    let (first, second) = (&rest[4..12], &rest[31..43]);
    let mut fixed = rest[..44].to_vec();
    fixed[13] |= 1; // as servers other than MariaDB
    fixed[21..31].fill(0);
    let parts = [b"\x0a9.1.0\0", &fixed[..], PLUGIN, b"\0"];
    ([first, second].concat(), parts.concat())
}

/// The client's response, without its proof, for a user without a password.
fn response_to_mariadb(response: &[u8]) -> Vec<u8> {
    const WITH_DATABASE: u32 = 1 << 3;
    const WITH_ATTRIBUTES: u32 = 1 << 20;
    let capabilities = u32::from_le_bytes(response[..4].try_into().expect("four bytes"));
    assert_ne!(capabilities & WITH_DATABASE, 0);
    let (head, rest) = response.split_at(32);
    let end = rest.iter().position(|byte| *byte == 0).expect("a user") + 1;
    let (user, rest) = rest.split_at(end);
    let rest = &rest[1 + usize::from(rest[0])..];
    let end = rest.iter().position(|byte| *byte == 0).expect("a database") + 1;
    assert!(rest[end..].starts_with(PLUGIN), "{rest:?}");
    let capabilities = (capabilities & !WITH_ATTRIBUTES).to_le_bytes();
    [&capabilities[..], &head[4..], user, &[0], &rest[..end], b"mysql_native_password\0"].concat()
}

fn receive(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    from.read_exact(&mut payload).map(|()| (head[3], payload))
}

fn send(to: &mut impl Write, number: u8, payload: &[u8]) -> io::Result<()> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    to.write_all(&[&[a, b, c, number], payload].concat())
}

fn openssl(arguments: &[&str], key: &Path, input: &[u8]) -> Vec<u8> {
    let output = key.with_file_name(format!("openssl-{:?}", thread::current().id()));
    let mut command = Command::new("openssl");
    command.args(arguments).arg(key).arg("-out").arg(&output);
    run_with(command, input).ok();
    std::fs::read(&output).expect("it wrote it")
}
