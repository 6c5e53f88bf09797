//! The URL of a stream, which names all that a connection needs: `tls://HOST[:PORT][,HOST...]/STREAM?ca=FILE&cert=FILE&key=FILE`.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr, sync::Arc};

use aw_output::{Access, Error, HostPort, failed};
use aw_peer::{TlsCheck, client_config};
use rustls::ClientConfig;

/// The port of NATS.
const PORT: u16 = 4222;
const FORM: &str = "must be nats://HOST[:PORT][,HOST[:PORT]...]/STREAM, or tls://...[?ca=FILE][&cert=FILE&key=FILE]";

/// A stream of a NATS server, or of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamUrl {
    tls: bool,
    servers: Vec<HostPort>,
    /// It has a user, and perhaps a password: it is refused later, because an option that is not valid is printed.
    has_login: bool,
    /// The stream's name.
    pub stream: String,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl FromStr for StreamUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A password may have any characters, and a file's name, too.
        let files = ["?ca=", "?cert=", "?key="].iter().filter_map(|name| text.find(name)).min();
        if text[..files.unwrap_or(text.len())].contains('@') {
            return Ok(StreamUrl { has_login: true, ..StreamUrl::default() });
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            _ => return Err(FORM),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, stream) = rest.split_once('/').ok_or(FORM)?;
        let servers: Result<Vec<_>, _> =
            hosts.split(',').map(|host| HostPort::parse(host, PORT)).collect();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if stream.is_empty() || !stream.chars().all(is_of_name) {
            return Err("must name a stream, of letters, digits, - and _");
        }
        let [mut ca, mut cert, mut key] = [None, None, None];
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, file) = part.split_once('=').ok_or(FORM)?;
            let place = match name {
                "ca" => &mut ca,
                "cert" => &mut cert,
                "key" => &mut key,
                _ => return Err(FORM),
            };
            // Absolute: the working directory may change.
            let path = std::path::absolute(file).map_err(|_| FORM)?;
            if place.replace(path).is_some() {
                return Err("must name each file once");
            }
        }
        if !tls && !query.is_empty() {
            return Err("must begin with tls:// if it names files");
        }
        if cert.is_some() != key.is_some() {
            return Err("must name a certificate (cert=) and its key (key=) together");
        }
        Ok(StreamUrl {
            tls,
            servers: servers.map_err(|_| FORM)?,
            has_login: false,
            stream: stream.into(),
            ca,
            identity: cert.zip(key),
        })
    }
}

/// Without the files.
impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}/{}", servers.join(","), self.stream)
    }
}

impl StreamUrl {
    /// The servers, each as a URL.
    pub fn servers(&self) -> Vec<String> {
        let scheme = if self.tls { "tls" } else { "nats" };
        self.servers.iter().map(|server| format!("{scheme}://{server}")).collect()
    }

    /// Files and ports that a connection needs, after the files of the URL are read.
    pub fn access(&self) -> Vec<Access> {
        let mut access = Access::host_names();
        access.extend(self.servers.iter().map(|server| Access::Connect(server.port)));
        if self.tls {
            access.extend(authorities().into_iter().map(Access::Read));
        }
        access
    }

    /// The files that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).cloned().collect()
    }

    /// Reads the files, which may be root's: before privileges are dropped. None: no TLS.
    pub fn tls(&self) -> Result<Option<Arc<ClientConfig>>, Error> {
        if self.has_login {
            return Err(failed(
                "the URL of the stream must have no user and password, which other users of this machine can read (use tls:// with a certificate)",
            ));
        }
        if !self.tls {
            return Ok(None);
        }
        let identity = self.identity.as_ref().map(|(cert, key)| (&**cert, &**key));
        let config = client_config(self.ca.as_deref(), identity, TlsCheck::Identity);
        config.map(Some).map_err(failed)
    }
}

/// Directories of the system's authorities, and those that their links lead to: async-nats reads them for each connection, although it
/// does not use them here, and does not connect if it cannot.
fn authorities() -> BTreeSet<PathBuf> {
    let named = ["SSL_CERT_DIR", "SSL_CERT_FILE"].map(std::env::var_os).into_iter().flatten();
    let named = named.flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
    let usual = ["/etc/ssl", "/etc/ssl/certs", "/etc/pki", "/etc/pki/tls/certs", "/usr/lib/ssl"];
    let mut found: BTreeSet<PathBuf> = named.chain(usual.map(PathBuf::from)).collect();
    let entries = found.iter().filter_map(|path| path.read_dir().ok()).flatten().flatten();
    let targets = entries.filter_map(|entry| entry.path().canonicalize().ok());
    let parents: Vec<_> = targets.filter_map(|path| Some(path.parent()?.into())).collect();
    found.extend(parents);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text: &str| text.parse::<StreamUrl>();
        for (text, shown) in [
            ("nats://hub/addrwatch", "nats://hub:4222/addrwatch"),
            ("nats://a,[::1]:9,b:7/x-1", "nats://a:4222,[::1]:9,b:7/x-1"),
            ("tls://a/x?ca=/c&cert=/d&key=/e", "tls://a:4222/x"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
        assert!(
            parse("tls://a/x?ca=/c@d")
                .unwrap()
                .tls()
                .is_err_and(|it| it.to_string().contains("/c@d"))
        );
        let files = parse("tls://a/x?ca=/c&cert=/d&key=/e").unwrap().files();
        assert_eq!(files, ["/c", "/d", "/e"].map(PathBuf::from));
        for secret in ["nats://u:secret@hub/x", "u:secret@hub", "nats://u:sec/secret?secret@hub/x"]
        {
            let fault = parse(secret).unwrap().tls().unwrap_err().to_string();
            assert!(fault.contains("no user and password") && !fault.contains("secret"), "{fault}");
        }
        for (bad, why) in [
            ("hub/addrwatch", "must be nats://"),
            ("http://hub/addrwatch", "must be nats://"),
            ("nats://hub", "must be nats://"),
            ("nats:///x", "must be nats://"),
            ("nats://hub:0/x", "must be nats://"),
            ("nats://hub/", "name a stream"),
            ("nats://hub/a.b", "name a stream"),
            ("nats://hub/a/b", "name a stream"),
            ("nats://hub/x?ca=/c", "begin with tls://"),
            ("tls://hub/x?ca", "must be nats://"),
            ("tls://hub/x?nkey=/c", "must be nats://"),
            ("tls://hub/x?cert=/c", "together"),
            ("tls://hub/x?ca=/c&ca=/d", "once"),
        ] {
            let fault = parse(bad).unwrap_err();
            assert!(fault.contains(why), "{bad}: {fault}");
        }
    }
}
