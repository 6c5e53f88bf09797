//! Which text of a request may be the target of a link or a redirection. No I/O and no clock.

/// A path of this server, or `/` in the place of what a browser could take as another one: it reads `//host` and `/\host` as
/// a host, and omits tabs and line ends before it looks.
pub fn local_path(text: &str) -> &str {
    let is_local = text.starts_with('/')
        && !matches!(text.as_bytes().get(1), Some(b'/' | b'\\'))
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_local { text } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_to_this_server() {
        for path in ["/", "/who?ip=192.0.2.1&at=1d", "/ip/fe80%3A%3A1", "/a//b"] {
            assert_eq!(local_path(path), path);
        }
        for bad in [
            "//evil.example",
            "//evil.example/login",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "",
            "x",
            "/\n/",
            "/\t/evil",
            "/é",
        ] {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
    }
}
