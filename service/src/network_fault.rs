//! Why a server cannot be reached, or a port cannot be opened, with what to do about it: the same words in all programs.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::Path,
};

use rustix::io::Errno;

use crate::{
    Wanted,
    access::{explained, in_its_file},
    cause, explain, explain_or, unit,
};

/// Why a server cannot be reached, with what to do. `setting` has the server, and `without_tls` is what to write for one that
/// speaks no TLS.
pub fn connection_fault(why: &str, setting: &str, without_tls: &str) -> String {
    let setting = in_its_file(setting);
    let remedy = match why {
        _ if why.contains("InvalidContentType") => {
            return format!("the server speaks no TLS on this port ({without_tls})");
        }
        "connection refused" | "no such file or directory" => {
            format!("start the server, or correct {setting}")
        }
        "no response" | "no complete answer in time" | "the server does not answer" => {
            format!("check {setting}; a firewall may drop the packets")
        }
        _ if why.starts_with("no response after ") => {
            format!("check {setting}; a firewall may drop the packets")
        }
        "no route to host"
        | "network is unreachable"
        | "network unreachable"
        | "host unreachable"
        | "cannot assign requested address"
        | "address family not supported by protocol" => {
            format!("check {setting}, and the addresses and routes of this machine")
        }
        "operation not permitted" => {
            format!(
                "check {setting}; a firewall of this machine, or IPAddressDeny= of the unit, forbids it"
            )
        }
        _ if why == "no such host" || why.contains("lookup address information") => {
            format!("correct {setting}, or check the name servers of this machine")
        }
        "no answer from a name server" => {
            format!("check the name servers of this machine, or write an address in {setting}")
        }
        _ => return why.into(),
    };
    format!("{why} ({remedy})")
}

/// Why the syslog daemon of this machine cannot be reached by its socket, with what to do. `choose` is how another socket is
/// chosen, if it can be.
pub fn syslog_fault(error: io::Error, socket: &Path, choose: Option<&str>) -> String {
    let choose = choose.map_or(String::new(), |choose| format!(", or {choose}"));
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PROTOTYPE) => {
            format!("it is a stream socket: name one that takes datagrams{choose}")
        }
        _ => format!("start a syslog daemon{choose}"),
    };
    explain_or(&explained(error, socket, Wanted::Write), &format!("({remedy})"))
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// For connections.
    Tcp,
    /// For datagrams.
    Udp,
}

/// Why a port cannot be opened, with what to do. `option` names the address.
pub fn listen_fault(
    error: &io::Error,
    kind: PortKind,
    address: &SocketAddr,
    option: &str,
) -> String {
    let (ip, port) = (address.ip(), address.port());
    let option = in_its_file(option);
    let remedy = match (error.kind(), error.raw_os_error().map(Errno::from_raw_os_error)) {
        (ErrorKind::AddrInUse, _) => {
            let lists = if kind == PortKind::Tcp { "ss -ltnp" } else { "ss -lunp" };
            format!("choose another port with {option}; {lists} shows which process uses it")
        }
        (ErrorKind::AddrNotAvailable, _) => {
            let all = if ip.is_ipv4() { "0.0.0.0" } else { "[::]" };
            format!(
                "no interface of this machine has {ip}: choose one that `ip address` shows with {option}, or {all} for all"
            )
        }
        (ErrorKind::PermissionDenied, _) if port < 1024 => {
            let name = crate::name();
            // The collector has a unit for each instance, and its check is in none.
            let (edited, own) = match (unit(), name) {
                (Some(unit), _) => (unit, unit),
                (None, "collector") => ("addrwatch-collector@.service", "'addrwatch-collector@*'"),
                (None, name) => (name, name),
            };
            format!(
                "choose a port above 1023 with {option}, or start it as root; for the service: systemctl edit {edited}, with the three lines \"[Service]\", \"AmbientCapabilities=CAP_NET_BIND_SERVICE\" and \"CapabilityBoundingSet=CAP_NET_BIND_SERVICE\"; then systemctl restart {own}"
            )
        }
        (ErrorKind::PermissionDenied, _) => {
            format!(
                "choose another port with {option}; SocketBindDeny= of the unit, AppArmor or SELinux denies this one"
            )
        }
        (_, Some(Errno::INVAL)) if address.is_ipv6() => format!(
            "a link-local address needs its interface: write [{ip}%NUMBER]:{port}, with the number that `ip link` shows"
        ),
        (_, Some(Errno::AFNOSUPPORT)) if address.is_ipv6() => {
            format!("this machine has no IPv6: choose an IPv4 address with {option}")
        }
        _ => return explain(error),
    };
    format!("{} ({remedy})", cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_reached_has_a_remedy() {
        for (why, expected) in [
            ("connection refused", "connection refused (start the server, or correct url)"),
            ("no such file or directory", " (start the server, or correct url)"),
            ("no response after 10 s (connect)", "(check url; a firewall may drop the packets)"),
            ("no response", "no response (check url; a firewall may drop the packets)"),
            ("no route to host", "(check url, and the addresses and routes of this machine)"),
            (
                "failed to lookup address information: Name or service not known",
                "not known (correct url, or check the name servers of this machine)",
            ),
            ("no answer from a name server", "or write an address in url)"),
            ("operation not permitted", "or IPAddressDeny= of the unit, forbids it)"),
            (
                "received corrupt message of type InvalidContentType",
                "the server speaks no TLS on this port (write http://)",
            ),
            ("no response to a ping", "no response to a ping"),
            ("another one", "another one"),
        ] {
            let fault = connection_fault(why, "url", "write http://");
            assert!(fault.ends_with(expected), "{fault}");
        }
        assert!(!connection_fault("x of type InvalidContentType", "url", "y").contains("Invalid"));
    }

    /// Each with the remedy for it, and the option.
    #[test]
    fn a_port_that_cannot_be_opened_has_a_remedy() {
        for (number, address, kind, remedy) in [
            (
                libc::EADDRINUSE,
                "127.0.0.1:80",
                PortKind::Tcp,
                "choose another port with --x; ss -ltnp shows",
            ),
            (
                libc::EADDRINUSE,
                "127.0.0.1:80",
                PortKind::Udp,
                "choose another port with --x; ss -lunp shows",
            ),
            (
                libc::EADDRNOTAVAIL,
                "192.0.2.9:80",
                PortKind::Tcp,
                "no interface of this machine has 192.0.2.9: ",
            ),
            (libc::EADDRNOTAVAIL, "192.0.2.9:80", PortKind::Tcp, "with --x, or 0.0.0.0 for all"),
            (libc::EADDRNOTAVAIL, "[2001:db8::9]:80", PortKind::Tcp, "with --x, or [::] for all"),
            (
                libc::EACCES,
                "127.0.0.1:80",
                PortKind::Tcp,
                "choose a port above 1023 with --x, or start it as root",
            ),
            (libc::EACCES, "127.0.0.1:8080", PortKind::Tcp, "SELinux denies this one"),
            (libc::EINVAL, "[fe80::1]:80", PortKind::Udp, "write [fe80::1%NUMBER]:80"),
            (libc::EAFNOSUPPORT, "[::1]:80", PortKind::Udp, "choose an IPv4 address with --x"),
            (libc::EMFILE, "[::1]:80", PortKind::Udp, "ulimit -n"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            let fault = listen_fault(&error, kind, &address.parse().unwrap(), "--x");
            assert!(fault.starts_with(&cause(&error)) && fault.contains(remedy), "{fault}");
            assert!(fault.ends_with(')'), "{fault}");
        }
    }
}
