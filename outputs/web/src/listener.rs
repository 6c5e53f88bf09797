//! Where the server listens: a TCP port, with TLS unless it is on the loopback, or a socket for a reverse proxy.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aw_output::{serve, this_host};
use aw_service::{Error, FileKind, Identity, explain, explain_or, failed, read_file};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::options::Options;

/// Bytes of a file of certificates, at most.
const MAX_PEM: u64 = 1 << 20;
/// The mode of the socket: the user and the group of this program.
const SOCKET_MODE: u32 = 0o660;

/// The value of `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        if text.starts_with('/') {
            return Ok(Address::Unix(text.into()));
        }
        let parsed = serve::parse_address(text).map(Address::Tcp);
        parsed.map_err(|_| "must be ADDR:PORT, [IPv6]:PORT, PORT, or the absolute path of a socket")
    }

    /// Refuses what would send passwords and the history over a network without encryption, and a header that anyone could send.
    pub fn check(&self, options: &Options) -> Result<(), Error> {
        match self {
            Address::Tcp(address)
                if !address.ip().to_canonical().is_loopback() && options.tls_cert.is_none() =>
            {
                Err(failed(format_args!(
                    "listen on {address}: other machines would send passwords without encryption (set --tls-cert and --tls-key; or listen on 127.0.0.1, or on a socket for a reverse proxy)"
                )))
            }
            Address::Tcp(address) if options.proxy_option().is_some() => Err(failed(format_args!(
                "listen on {address}: every process of this machine could send the header of {} (use it with --listen /PATH, a socket for the reverse proxy)",
                options.proxy_option().unwrap_or_default()
            ))),
            Address::Unix(path) if options.tls_cert.is_some() => Err(failed(format_args!(
                "listen on {}: TLS on a socket of this machine is not supported (the reverse proxy has the certificate: omit --tls-cert and --tls-key)",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// A socket that listens.
pub enum Listener {
    Tcp(TcpListener, Option<Arc<ServerConfig>>),
    Unix(UnixListener),
}

/// Listens, and reads the certificate, before privileges are dropped.
pub fn open(options: &Options, identity: Option<&Identity>) -> Result<Listener, Error> {
    options.listen.check(options)?;
    match &options.listen {
        Address::Tcp(address) => {
            let tls = options.tls_cert.as_deref().zip(options.tls_key.as_deref());
            let tls = tls.map(|(certificate, key)| tls_config(certificate, key)).transpose()?;
            Ok(Listener::Tcp(serve::listen(address, "--listen")?, tls))
        }
        Address::Unix(path) => open_socket(path, identity).map(Listener::Unix),
    }
}

fn open_socket(path: &Path, identity: Option<&Identity>) -> Result<UnixListener, Error> {
    let shown = path.display();
    let failure =
        |error: &std::io::Error| failed(format_args!("listen on {shown}: {}", explain(error)));
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(failed(format_args!(
                "listen on {shown}: it exists, and is not a socket ({}; or choose another path with --listen)",
                aw_service::move_away(path)
            )));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(failed(format_args!(
                "listen on {shown}: another process serves it (stop it, or choose another path with --listen)"
            )));
        }
        fs::remove_file(path).map_err(|error| failure(&error))?; // of a process that was killed
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(failed(format_args!(
                "listen on {shown}: no such directory (create it, or choose another path with --listen)"
            )));
        }
        bound => bound.map_err(|error| failure(&error))?,
    };
    // Until here only this user could connect, by the umask or the directory.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(|error| failure(&error))?;
    if let Some(Identity { user, group, .. }) = identity {
        chown(path, Some(user.as_raw()), Some(group.as_raw())).map_err(|error| failure(&error))?;
    }
    Ok(listener)
}

/// TLS for clients: a chain of certificates and its key.
pub fn tls_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let bytes = read_pem(certificate, FileKind::Settings, "--tls-cert")?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain =
        chain.map_err(|error| Error::new(format_args!("read {}", certificate.display()), error))?;
    if chain.is_empty() {
        return Err(failed(format_args!(
            "read {}: no PEM certificate in this file (name the certificate chain with --tls-cert)",
            certificate.display()
        )));
    }
    let of_key = |error: rustls::pki_types::pem::Error| {
        failed(format_args!(
            "read {}: no private key in PEM: {error} (name it with --tls-key)",
            key.display()
        ))
    };
    let private = PrivateKeyDer::from_pem_slice(&read_pem(key, FileKind::Secret, "--tls-key")?)
        .map_err(of_key)?;
    let failure = |error: rustls::Error| {
        failed(format_args!(
            "prepare TLS with {} and {}: {error} (do both belong together?)",
            certificate.display(),
            key.display()
        ))
    };
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(failure)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(failure)?;
    Ok(Arc::new(config))
}

fn read_pem(path: &Path, kind: FileKind, option: &str) -> Result<Vec<u8>, Error> {
    read_file(path, kind, MAX_PEM).map_err(|error| {
        let remedy = format!("(name the file with {option})");
        failed(format_args!("read {}: {}", path.display(), explain_or(&error, &remedy)))
    })
}

impl Listener {
    /// The begin of links to this server, without a path.
    pub fn url(&self, allowed: &[String]) -> String {
        match self {
            Listener::Unix(_) => {
                let host = allowed.first().cloned().unwrap_or_else(|| "localhost".into());
                format!("https://{host}")
            }
            Listener::Tcp(listener, tls) => {
                let unknown = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
                let address = listener.local_addr().unwrap_or(unknown);
                let scheme = if tls.is_some() { "https" } else { "http" };
                let port = address.port();
                match (address.ip(), allowed.first()) {
                    (_, Some(host)) if tls.is_some() => format!("{scheme}://{host}:{port}"),
                    (ip, _) if ip.is_unspecified() => format!("{scheme}://{}:{port}", this_host()),
                    (IpAddr::V6(ip), _) => format!("{scheme}://[{ip}]:{port}"),
                    (ip, _) => format!("{scheme}://{ip}:{port}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        assert_eq!(Address::parse("9715"), tcp("127.0.0.1:9715"));
        assert_eq!(Address::parse("[::1]:80"), tcp("[::1]:80"));
        assert_eq!(Address::parse("/run/a/socket"), Ok(Address::Unix("/run/a/socket".into())));
        for bad in ["", "run/socket", "localhost:80", "1.2.3.4"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// Another address than the loopback needs TLS, and a header with the user is trusted only on a socket.
    #[test]
    fn what_is_refused() {
        let check = |words: &[&str]| {
            let words = ["aw-web"].iter().chain(words);
            let options: Options = clap::Parser::try_parse_from(words).unwrap();
            options.listen.check(&options).map_err(|why| why.to_string())
        };
        let tls = ["--tls-cert", "c", "--tls-key", "k"];
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--listen", "[::1]:1"]), Ok(()));
        assert_eq!(check(&["--listen", "/s", "--proxy-user-header", "X-User"]), Ok(()));
        assert_eq!(check(&[&["--listen", "192.0.2.1:1"], &tls[..]].concat()), Ok(()));
        for (words, why) in [
            (&["--listen", "192.0.2.1:1"][..], "--tls-cert"),
            (&["--listen", "0.0.0.0:1"], "--tls-cert"),
            (&["--listen", "[::]:1"], "--tls-cert"),
            (&["--proxy-user-header", "X-User"], "every process"),
            (&[&["--listen", "/s"], &tls[..]].concat(), "omit --tls-cert"),
        ] {
            let refused = check(words).unwrap_err();
            assert!(refused.contains(why), "{words:?}: {refused}");
        }
    }

    #[test]
    fn a_socket_of_a_killed_process_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let first = open_socket(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let served = open_socket(&path, None).unwrap_err().to_string();
        assert!(served.contains("another process serves it"), "{served}");
        drop(first);
        open_socket(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "text").unwrap();
        let why = open_socket(&path, None).unwrap_err().to_string();
        assert!(why.contains("not a socket") && path.exists(), "{why}");
    }
}
