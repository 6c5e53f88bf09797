//! Where a server is.

/// A host, by its name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, which has no brackets here.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl Place {
    /// `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT`.
    pub fn parse(text: &str, default: u16) -> Option<Place> {
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, port))) => (host, Some(port.strip_prefix(':')?)),
            Some(None) => return None,
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(default), |port| port.parse().ok())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let good = !host.is_empty() && port != 0 && host.chars().all(plain);
        good.then(|| Place { host: host.into(), port })
    }
}
