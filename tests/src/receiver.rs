//! A collector that receives the reports of routers, and a router that sends them.

use crate::rig::{Run, program, wait_until};
use crate::ring::Ring;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

/// A collector that receives reports on a port of the kernel's choice.
pub struct Receiver {
    /// Its process.
    pub run: Run,
    /// Where to send to.
    pub address: SocketAddr,
}

impl Receiver {
    /// Starts it by this command.
    pub fn start(mut command: Command) -> Receiver {
        command.args(["--macupd", "127.0.0.1:0"]);
        let run = Run::start(command);
        let line = run.stderr.wait_for("(MACupd)");
        let words = line.split_whitespace();
        let address = words.filter_map(|word| word.parse().ok()).next().expect("an address");
        Receiver { run, address }
    }

    /// Starts it for a ring, with these options.
    pub fn listening(ring: &Ring, options: &[&str]) -> Receiver {
        let mut command = program("collector", &["-q", "--ring", ring.name()]);
        command.args(options);
        Receiver::start(command)
    }

    /// Waits until the collector has read all that was sent: `rx_queue` of proc_net_udp(5) is 0.
    #[track_caller]
    pub fn wait_until_read(&self) {
        let queue = format!(":{:04X} 00000000:0000 ", self.address.port());
        wait_until("the datagrams are read", || {
            let sockets = std::fs::read_to_string("/proc/net/udp").expect("the kernel's list");
            let socket = sockets.lines().find_map(|line| line.split_once(&queue));
            socket.is_none_or(|(_, rest)| {
                rest.split_whitespace().nth(1).is_some_and(|queues| queues.ends_with(":00000000"))
            })
        });
    }

    /// Sends datagrams as from a router with this address.
    pub fn send(&self, router: &str, datagrams: &[&str]) {
        let socket = UdpSocket::bind((router, 0)).unwrap();
        for datagram in datagrams {
            socket.send_to(datagram.as_bytes(), self.address).unwrap();
        }
    }
}

/// A line of an ARP table, as the sender makes it.
pub fn line(number: u32, ip: &str, flags: u8, mac: &str, interface: &str) -> String {
    format!(
        "{number:4}    {ip:<16} 0x1         {:<10}  {mac}     *        {interface}",
        format!("0x{flags:x}")
    )
}
