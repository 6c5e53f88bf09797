//! The lines of an export. A router's export consists of comments, menus, and commands, which may be wrapped, and may
//! hold line ends within a quoted string. Anything else, such as a banner or `interrupted`, is not configuration.

/// The commands of exports. Published exports of 6.40 to 7.24 have the first two; the others cost nothing, and a command
/// that is missing here would refuse a router's exports for ever.
const VERBS: [&str; 8] = ["add", "set", "remove", "unset", "reset", "move", "enable", "disable"];

/// Submenus of a failed section that are looked up, at most: menus have up to five words.
const MAX_DEPTH: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blank,
    Comment,
    /// The menu of the commands that follow.
    Menu,
    /// A command with its menu, as `terse` prints it.
    Terse,
    /// A command of the last menu.
    Command,
    Foreign,
}

/// The kind of a line, or of a wrapped line that is joined.
pub fn kind(line: &str) -> Kind {
    let line = line.trim();
    let Some(first) = line.split(' ').next().filter(|first| !first.is_empty()) else {
        return Kind::Blank;
    };
    if first.starts_with('#') {
        return Kind::Comment;
    }
    if !first.starts_with('/') {
        return if is_command(first, &line[first.len()..]) { Kind::Command } else { Kind::Foreign };
    }
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        if is_verb(word) {
            return Kind::Terse;
        }
        let is_menu = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'/');
        if !word.bytes().all(is_menu) {
            return Kind::Foreign;
        }
    }
    Kind::Menu
}

/// Whether a line cannot be the beginning of a line of an export, wherever it is wrapped.
pub fn is_foreign_start(line: &str) -> bool {
    let first = line.trim().split(' ').next().unwrap_or_default();
    !first.is_empty() && !first.starts_with(['/', '#']) && !is_verb(first)
}

/// Whether a line that begins with this word is a command, and not a sentence such as `reset by peer`: a command has
/// properties, and names at most one item, but `add` none.
fn is_command(verb: &str, rest: &str) -> bool {
    let most = match verb {
        "add" => 0,
        "move" => 2,
        _ => 1,
    };
    is_verb(verb) && items(rest) <= most
}

/// The words of a command that are no property: names, numbers and `[ find ... ]`.
fn items(words: &str) -> usize {
    let (mut quotes, mut depth, mut items) = (Quotes::default(), 0_usize, 0);
    // Whether the word is a property; `None` between two words.
    let mut word: Option<bool> = None;
    for byte in words.bytes() {
        let is_quoted = quotes.is_open();
        quotes.scan_byte(byte);
        match byte {
            b' ' if !is_quoted && depth == 0 => {
                items += usize::from(word.take() == Some(false));
                continue;
            }
            b'[' if !is_quoted => depth += 1,
            b']' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_property = byte == b'!' && word.is_none()
            || byte == b'=' && !is_quoted && depth == 0
            || word == Some(true);
        word = Some(is_property);
    }
    items + usize::from(word == Some(false))
}

fn is_verb(word: &str) -> bool {
    VERBS.contains(&word)
}

/// The line without the backslash that marks it as wrapped: an odd one, because backslashes of the text are doubled.
pub fn wrapped(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Follows the quotes of a command: a quoted string may continue on the next line.
#[derive(Default)]
pub struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    pub fn scan(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.scan_byte(byte));
    }

    fn scan_byte(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.is_open = !self.is_open,
            _ => {}
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }
}

/// The menu of a comparable line, in the form of RouterOS 6: `/ip upnp` of `/ip/upnp set enabled=yes`.
pub fn menu_of(line: &str) -> String {
    let words = line.split(' ').take_while(|word| !is_verb(word));
    normal(words.collect::<Vec<_>>().join(" ").as_str())
}

/// The menu of a section that failed: `/ip upnp` of `"/ip/upnp" (timeout)`.
pub fn menu_of_section(section: &str) -> String {
    let path = match section.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => section.split(" (").next().unwrap_or_default(),
    };
    normal(path)
}

fn normal(menu: &str) -> String {
    let words = menu.split(['/', ' ']).filter(|word| !word.is_empty());
    format!("/{}", words.collect::<Vec<_>>().join(" "))
}

/// The menu, and then those that contain it.
pub fn ancestors(menu: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(menu), |menu| Some(menu.rsplit_once(' ')?.0)).take(MAX_DEPTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (line, expected) in [
            ("", Kind::Blank),
            ("# wlan1 not ready", Kind::Comment),
            ("/interface bridge", Kind::Menu),
            ("/ip/firewall/address-list", Kind::Menu),
            ("/interface 6to4", Kind::Menu),
            ("/interface bridge add name=loopback", Kind::Terse),
            ("/port set 0 name=serial0", Kind::Terse),
            ("/ip service set ftp disabled=yes", Kind::Terse),
            ("/interface ethernet set [ find default-name=ether1 ] comment=x", Kind::Terse),
            ("/tool user-manager customer set admin access=own-users", Kind::Terse),
            ("set wlan1 comment=\"a | b\"", Kind::Command),
            ("add !keepalive local-address=192.0.2.1 name=gre1", Kind::Command),
            (
                "add comment=\"a \\\" b = c\" source=\"set up by = x\" name=[ find x=1 ]",
                Kind::Command,
            ),
            ("set [ find default-name=ether1 ] comment=x", Kind::Command),
            ("set \"two words\" disabled=yes", Kind::Command),
            ("set", Kind::Command),
            ("remove [ find comment=\"a ] b\" ]", Kind::Command),
            ("move 3 destination=1", Kind::Command),
            // Of banners and errors.
            ("reset by peer", Kind::Foreign),
            ("set the clock before you log in", Kind::Foreign),
            ("add your name to the list", Kind::Foreign),
            ("disable telnet, please", Kind::Foreign),
            ("remove \"old\" cables = first", Kind::Foreign),
            ("interrupted", Kind::Foreign),
            ("Authorized use only!", Kind::Foreign),
            ("added by admin", Kind::Foreign),
            ("[admin@core1] > ", Kind::Foreign),
            ("/dev/ttyS0: no such device", Kind::Foreign),
            ("2026-11-22 10:00:00 system,info item added by alice", Kind::Foreign),
            ("\u{1b}[1mset", Kind::Foreign),
        ] {
            assert_eq!(kind(line), expected, "{line}");
        }
    }

    #[test]
    fn menus() {
        assert_eq!(menu_of("/ip upnp set enabled=yes"), "/ip upnp");
        assert_eq!(menu_of("/ip/upnp set enabled=yes"), "/ip upnp");
        assert_eq!(menu_of_section("\"/ip/upnp\" (timeout)"), "/ip upnp");
        assert_eq!(menu_of_section("/ip accounting web-access"), "/ip accounting web-access");
        assert_eq!(menu_of_section("/ip socks (timeout)"), "/ip socks");
        let all: Vec<_> = ancestors("/interface wifi channel").collect();
        assert_eq!(all, ["/interface wifi channel", "/interface wifi", "/interface"]);
    }

    #[test]
    fn quotes_across_lines() {
        let mut quotes = Quotes::default();
        quotes.scan(r#"add source="a \"b\" \\"#);
        assert!(quotes.is_open());
        quotes.scan("\" name=x");
        assert!(!quotes.is_open());
    }
}
