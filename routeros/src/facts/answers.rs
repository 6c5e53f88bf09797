//! The commands that print facts, and what of their answers is one.

use super::Section;

/// A command, and how its answer is read.
pub struct FactCommand {
    pub section: &'static str,
    pub command: &'static str,
    parse: fn(&str) -> Option<Section>,
}

impl FactCommand {
    /// The facts in an answer; `None` if the router refuses the command or does not have it.
    pub fn read(&self, answer: &str) -> Option<Section> {
        (self.parse)(answer)
    }
}

/// All commands; each needs the policy `read` only.
pub const COMMANDS: [FactCommand; 8] = [
    FactCommand { section: "board", command: "/system resource print", parse: board },
    FactCommand { section: "firmware", command: "/system routerboard print", parse: firmware },
    FactCommand { section: "license", command: "/system license print", parse: license },
    FactCommand { section: "package", command: "/system package print detail", parse: packages },
    FactCommand { section: "user", command: "/user print detail", parse: users },
    FactCommand { section: "group", command: "/user group print detail", parse: groups },
    FactCommand { section: "SSH key", command: "/user ssh-keys print detail", parse: ssh_keys },
    FactCommand {
        section: "certificate",
        command: "/certificate print detail",
        parse: certificates,
    },
];

fn board(answer: &str) -> Option<Section> {
    values(answer, &["board-name", "architecture-name"])
}

fn firmware(answer: &str) -> Option<Section> {
    values(answer, &["revision", "current-firmware"])
}

fn license(answer: &str) -> Option<Section> {
    values(answer, &["system-id", "nlevel", "level"])
}

fn packages(answer: &str) -> Option<Section> {
    // A package that is only available comes and goes with each look for updates.
    let installed = entries(answer)?.into_iter().filter(|entry| !entry.flags.contains('A'));
    let values: Section = installed
        .filter_map(|entry| Some((entry.get("name")?.into(), entry.text(&["version"]))))
        .collect();
    (!values.is_empty()).then_some(values)
}

fn users(answer: &str) -> Option<Section> {
    let named =
        |entry: &Entry| Some((entry.get("name")?.into(), entry.text(&["group", "address"])));
    let values: Section = entries(answer)?.iter().filter_map(named).collect();
    (!values.is_empty()).then_some(values) // the user that asks is one
}

fn groups(answer: &str) -> Option<Section> {
    let named = |entry: &Entry| {
        let mut policies: Vec<_> = entry.get("policy")?.split(',').map(str::trim).collect();
        policies.retain(|policy| !policy.is_empty() && !policy.starts_with('!'));
        policies.sort_unstable();
        Some((entry.get("name")?.into(), policies.join(",")))
    };
    let values: Section = entries(answer)?.iter().filter_map(named).collect();
    (!values.is_empty()).then_some(values)
}

fn ssh_keys(answer: &str) -> Option<Section> {
    let mut values = Section::new();
    for entry in entries(answer)? {
        let Some(user) = entry.get("user") else { continue };
        let owner = entry.get("key-owner").or(entry.get("info")).unwrap_or_default();
        let name = format!("{user} {owner}").trim().to_owned();
        // Several keys may have the same owner.
        let text = entry.text(&["key-type", "bits", "fingerprint"]);
        values.entry(name).and_modify(|all| *all += &format!("; {text}")).or_insert(text);
    }
    Some(values)
}

fn certificates(answer: &str) -> Option<Section> {
    let named = |entry: &Entry| {
        let mut text = entry.text(&["fingerprint"]);
        if let Some(end) = entry.get("invalid-after") {
            text += &format!(" until={}", iso_date(end));
        }
        Some((entry.get("name")?.into(), text.trim().to_owned()))
    };
    Some(entries(answer)?.iter().filter_map(named).collect())
}

/// `jan/18/2038 03:14:07`, as RouterOS 6 prints it, in the form of RouterOS 7: an upgrade is no change.
fn iso_date(text: &str) -> String {
    let months =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (date, time) = text.split_once(' ').unwrap_or((text, ""));
    let parts: Vec<_> = date.split('/').collect();
    let [month, day, year] = &*parts else { return text.to_owned() };
    match months.iter().position(|name| name.eq_ignore_ascii_case(month)) {
        Some(at) => format!("{year}-{:02}-{day:0>2} {time}", at + 1).trim().to_owned(),
        None => text.to_owned(),
    }
}

/// The named lines of an answer like `version: 7.14.2`.
fn values(answer: &str, names: &[&str]) -> Option<Section> {
    let pairs = answer.lines().filter_map(|line| line.trim().split_once(": "));
    let pairs = pairs.filter(|(name, value)| names.contains(name) && !value.trim().is_empty());
    let values: Section = pairs.map(|(name, value)| (name.into(), value.trim().into())).collect();
    (!values.is_empty()).then_some(values)
}

/// An entry of `print detail`.
struct Entry {
    /// `X`, `K T`.
    flags: String,
    pairs: Vec<(String, String)>,
}

impl Entry {
    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) =
            self.pairs.iter().find(|(pair, value)| pair == name && !value.is_empty())?;
        Some(value)
    }

    /// The values of these names, and whether the entry is disabled.
    fn text(&self, names: &[&str]) -> String {
        let pairs = names.iter().filter_map(|name| Some(format!("{name}={}", self.get(name)?)));
        let disabled = self.flags.contains('X').then(|| "disabled".to_owned());
        pairs.chain(disabled).collect::<Vec<_>>().join(" ")
    }
}

/// The entries of `print detail`, which are numbered from 0; `None` if the answer is something else, an error.
fn entries(answer: &str) -> Option<Vec<Entry>> {
    let mut texts: Vec<String> = Vec::new();
    let mut is_head = true; // the legend of the flags
    for line in answer.lines().map(|line| line.trim_end_matches('\r')) {
        let indent = line.len() - line.trim_start().len();
        let mut text = line.trim();
        let number = text.split(' ').next().unwrap_or_default();
        let begins = indent <= 3 && number.parse() == Ok(texts.len());
        if begins {
            // The comment of an entry is text of a user.
            text = text[number.len()..].split(";;;").next().unwrap_or_default().trim();
            texts.push(text.to_owned());
        } else if let Some(entry) = texts.last_mut() {
            let gap = if entry.ends_with(',') { "" } else { " " };
            let whole = entry.trim_end_matches('\\').trim_end().len();
            entry.truncate(whole);
            *entry += &format!("{gap}{text}");
        } else {
            is_head &= text.is_empty() || line.starts_with("Flags:") || text.contains(" - ");
        }
    }
    (is_head).then(|| texts.iter().map(|text| entry(text)).collect())
}

/// The flags and the values of an entry: a value ends where the next name begins, outside quotes.
fn entry(text: &str) -> Entry {
    let mut starts = Vec::new(); // of a name, and of its value
    let (mut quoted, mut escaped, mut word) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        let is_name = |name: &str| {
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !name.is_empty() && name.bytes().all(fits)
        };
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b' ' if !quoted => word = at + 1,
            b'=' if !quoted && text.get(word..at).is_some_and(is_name) => {
                starts.push((word, at + 1));
                word = text.len(); // until the next word
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    let flags = &text[..starts.first().map_or(text.len(), |(name, _)| *name)];
    let ends = starts.iter().skip(1).map(|(name, _)| *name).chain([text.len()]);
    let pair = |((name, value), end): (&(usize, usize), usize)| {
        let text_of_value = text[*value..end].trim();
        let unquoted = text_of_value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value_text = unquoted.unwrap_or(text_of_value).to_owned();
        (text[*name..value - 1].to_owned(), value_text)
    };
    Entry { flags: flags.trim().into(), pairs: starts.iter().zip(ends).map(pair).collect() }
}
