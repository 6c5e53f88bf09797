//! Servers that attack their clients, in this process.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A server that runs `serve` for each client, in a thread of its own.
pub fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> u16 {
    server_at(Ipv4Addr::LOCALHOST.into(), serve)
}

/// The same at another address of this machine.
pub fn server_at(
    ip: IpAddr,
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind((ip, 0)).expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(client));
        }
    });
    port
}

/// An address of this machine that is not of the loopback, if it has one. Nothing is sent.
pub fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(SocketAddr::from(([192, 0, 2, 1], 9))).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Sends this byte again and again, with a pause that is shorter than each time limit of a step, until the client is gone.
pub fn trickle(mut client: TcpStream, byte: u8) -> io::Result<()> {
    loop {
        client.write_all(&[byte])?;
        thread::sleep(Duration::from_millis(100));
    }
}

/// The command with a limit of its memory in kilobytes.
pub fn with_memory(command: &Command, kilobytes: u32) -> Command {
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", &format!("ulimit -v {kilobytes} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// A packet of MySQL.
pub fn send_packet(client: &mut TcpStream, number: u8, payload: &[u8]) -> io::Result<()> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    client.write_all(&[&[a, b, c, number], payload].concat())
}

/// A packet of a MySQL client.
pub fn receive_packet(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    client.read_exact(&mut payload)?;
    Ok(payload)
}

/// The greeting of MySQL 9, which wants `caching_sha2_password`; and the client's response to it.
pub fn greet_mysql(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut greeting = b"\x0a9.1.0\0\x01\0\0\0challeng\0\xff\xf7\x2d\x02\0\xff\xdf\x15".to_vec();
    greeting.extend([0; 10]);
    greeting.extend(b"e of 20 byte\0caching_sha2_password\0");
    send_packet(client, 0, &greeting)?;
    receive_packet(client)
}

/// What a MySQL server answers if a login or a statement has worked.
pub fn accept(client: &mut TcpStream, number: u8) -> io::Result<()> {
    send_packet(client, number, &[0, 0, 0, 2, 0, 0, 0])
}

/// A MySQL server that accepts the login and every statement, but those that `answer` answers; that returns false if it
/// leaves one to it.
pub fn serve_mysql(
    mut client: TcpStream,
    mut answer: impl FnMut(&mut TcpStream, &str) -> io::Result<bool>,
) -> io::Result<()> {
    greet_mysql(&mut client)?;
    accept(&mut client, 2)?;
    loop {
        let command = receive_packet(&mut client)?;
        let sql = command.get(1..).unwrap_or_default();
        if !answer(&mut client, &String::from_utf8_lossy(sql))? {
            accept(&mut client, 1)?;
        }
    }
}
