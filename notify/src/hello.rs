//! The name that a mail client gives in EHLO: a full host name, or else an address literal (RFC 5321, 4.1.4). Many servers
//! refuse a name without a domain.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::Path,
};

use aw_service::{FileKind, HostPort, read_file_text};
use lettre::transport::smtp::extension::ClientId;

/// Bytes of /etc/hosts, at most: lists that block advertisements have some megabytes.
const MAX_HOSTS: u64 = 16 << 20;

/// The name of this client for this server.
pub(crate) fn client_id(configured: Option<&str>, server: &HostPort) -> ClientId {
    if let Some(name) = configured {
        return ClientId::Domain(name.to_owned());
    }
    let host = host_name();
    let hosts = read_file_text(Path::new("/etc/hosts"), FileKind::Settings, MAX_HOSTS);
    let hosts = hosts.unwrap_or_default();
    match full_name(&host, &hosts) {
        Some(name) => ClientId::Domain(name),
        None => match own_address(server) {
            IpAddr::V4(ip) => ClientId::Ipv4(ip),
            IpAddr::V6(ip) => ClientId::Ipv6(ip),
        },
    }
}

/// This machine's name, which may have no domain.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Checks the configured name: a server would read the rest of a line as something else.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match !name.is_empty() && name.chars().all(is_valid) {
        true => Ok(()),
        false => Err(format!("mail: hello: {name:?}: must be a host name or [ADDRESS]")),
    }
}

/// The full name of a host: its name if that has a domain, or a name with a domain in its line of `/etc/hosts`.
fn full_name(host: &str, hosts: &str) -> Option<String> {
    if host.contains('.') {
        return check(host).is_ok().then(|| host.to_owned());
    }
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let names = lines.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
    let mut own = names.filter(|names| names.contains(&host)).flatten();
    let is_full = |name: &&str| {
        name.split_once('.').is_some_and(|(first, domain)| {
            first.eq_ignore_ascii_case(host) && domain != "localdomain" && !domain.is_empty()
        })
    };
    own.find(is_full).filter(|name| check(name).is_ok()).map(str::to_owned)
}

/// The address that this host has on the way to the server. Nothing is sent for that.
fn own_address(server: &HostPort) -> IpAddr {
    let any = |unspecified: &str| {
        let socket = UdpSocket::bind((unspecified, 0)).ok()?;
        socket.connect((server.host.as_str(), server.port)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    any("0.0.0.0").or_else(|| any("::")).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\tgateway.example.org gateway # own\n";
        for (host, hosts, expected) in [
            ("gateway.example.net", hosts, Some("gateway.example.net")),
            ("gateway", hosts, Some("gateway.example.org")),
            ("gate", hosts, None),
            ("gateway", "127.0.0.1 localhost.localdomain gateway", None),
            ("gateway", "127.0.0.1 gateway.localdomain gateway", None),
            ("gateway", "# 127.0.1.1 gateway.example.org gateway", None),
            ("a b.c", hosts, None),
        ] {
            assert_eq!(full_name(host, hosts).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn a_literal_where_no_name_is_full() {
        for (host, literal) in [("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]")] {
            let ip = own_address(&HostPort { host: host.into(), port: 25 });
            let id = match ip {
                IpAddr::V4(ip) => ClientId::Ipv4(ip),
                IpAddr::V6(ip) => ClientId::Ipv6(ip),
            };
            assert_eq!(id.to_string(), literal);
        }
        assert!(check("gateway.example.org").is_ok() && check("[192.0.2.1]").is_ok());
        assert!(check("").is_err() && check("a\r\nMAIL").is_err());
    }
}
