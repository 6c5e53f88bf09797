//! Oxidized's configuration and its list of devices.

use std::collections::BTreeMap;

/// The columns of the list, counted from 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping(BTreeMap<String, usize>);

/// What the import needs of Oxidized's configuration.
#[derive(Debug)]
pub struct Settings {
    pub map: Mapping,
    delimiter: String,
    pub user: Option<String>,
    pub password: Option<String>,
    model: String,
    /// Names of models in the list, and their models.
    models: BTreeMap<String, String>,
    /// User and password of each group.
    pub groups: BTreeMap<String, (Option<String>, Option<String>)>,
}

/// A line of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub address: Option<String>,
    pub port: Option<String>,
    pub model: String,
    pub group: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Why the line cannot be used.
    pub fault: Option<String>,
}

/// Columns of a line, at most.
const MAX_COLUMNS: usize = 100;
const COLUMNS: [&str; 7] = ["name", "ip", "model", "group", "username", "password", "ssh_port"];

impl Mapping {
    /// `name=0,model=1`.
    pub fn parse(text: &str) -> Result<Mapping, String> {
        let mut columns = BTreeMap::new();
        for part in text.split(',') {
            let (name, number) =
                part.split_once('=').ok_or_else(|| format!("{part:?}: must be NAME=N"))?;
            if !COLUMNS.contains(&name.trim()) {
                return Err(format!("{name:?}: must be one of {}", COLUMNS.join(", ")));
            }
            columns.insert(name.trim().to_owned(), column(number)?);
        }
        Mapping(columns).checked()
    }

    fn checked(self) -> Result<Mapping, String> {
        if self.0.contains_key("name") { Ok(self) } else { Err("no column for name".into()) }
    }
}

fn column(number: &str) -> Result<usize, String> {
    let number = number.trim().parse().ok().filter(|number| *number < MAX_COLUMNS);
    number.ok_or_else(|| format!("a column must be a number below {MAX_COLUMNS}"))
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            map: Mapping([("name".into(), 0), ("model".into(), 1)].into()),
            delimiter: ":".into(),
            user: None,
            password: None,
            model: String::new(),
            models: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

impl Settings {
    pub fn parse(text: &str) -> Result<Settings, String> {
        let keys = keys(text);
        let get = |key: &[&str]| {
            let key: Vec<_> = key.iter().map(|part| (*part).to_owned()).collect();
            keys.get(&key).cloned().filter(|text| !text.is_empty())
        };
        let mut settings = Settings {
            user: get(&["username"]),
            password: get(&["password"]),
            model: get(&["model"]).unwrap_or_default(),
            ..Settings::default()
        };
        if get(&["source", "csv", "gpg"]).is_some_and(|gpg| gpg == "true") {
            return Err("source.csv.gpg: the list is encrypted (import the output of gpg --decrypt, and set gpg: false)".into());
        }
        let mut columns = BTreeMap::new();
        for (key, value) in &keys {
            let key: Vec<_> = key.iter().map(String::as_str).collect();
            match key.as_slice() {
                ["source", "csv", "map" | "vars_map", name] if COLUMNS.contains(name) => {
                    let number = column(value).map_err(|why| format!("map: {name}: {why}"))?;
                    columns.insert((*name).to_owned(), number);
                }
                ["model_map", from] => {
                    settings.models.insert(from.to_lowercase(), value.to_lowercase());
                }
                ["groups", group, what @ ("username" | "password")] => {
                    let of_group = settings.groups.entry((*group).to_owned()).or_default();
                    let value = Some(value.clone());
                    if *what == "username" { of_group.0 = value } else { of_group.1 = value }
                }
                _ => {}
            }
        }
        if !columns.is_empty() {
            settings.map = Mapping(columns).checked()?;
        }
        if let Some(delimiter) = get(&["source", "csv", "delimiter"]) {
            settings.delimiter = delimiter_of(&delimiter)?;
        }
        Ok(settings)
    }

    pub fn devices(&self, text: &str) -> Vec<Device> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.filter(|line| !line.starts_with('#'));
        lines.map(|line| self.device(line)).collect()
    }

    fn device(&self, line: &str) -> Device {
        let columns: Vec<_> = line.split(&self.delimiter).collect();
        let get = |name: &str| {
            let text = columns.get(*self.map.0.get(name)?)?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let model = get("model").unwrap_or_else(|| self.model.clone()).to_lowercase();
        let model = self.models.get(&model).cloned().unwrap_or(model);
        let mut device = Device {
            name: get("name").unwrap_or_default(),
            address: get("ip"),
            port: get("ssh_port"),
            model,
            group: get("group"),
            user: get("username"),
            password: get("password"),
            fault: None,
        };
        let last = self.map.0.values().max().copied().unwrap_or(0);
        if device.name.is_empty() {
            device.name = "(no name)".into();
            device.fault = Some("a line without a name".into());
        } else if columns.len() > MAX_COLUMNS.max(last + 1) {
            device.fault = Some("too many columns".into());
        }
        device
    }
}

/// `!ruby/regexp /:/`, or the text itself.
fn delimiter_of(text: &str) -> Result<String, String> {
    let pattern = text.strip_prefix("!ruby/regexp").map_or(text, str::trim);
    let pattern =
        pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).unwrap_or(pattern);
    let plain = pattern.strip_prefix('\\').unwrap_or(pattern);
    let special = plain.len() == pattern.len()
        && plain.contains(['.', '|', '*', '+', '?', '[', '(', '^', '$']);
    if plain.is_empty()
        || special
        || plain.contains('\\')
        || plain.len() > 1 && plain.contains(['[', '*', '+'])
    {
        return Err(format!("source.csv.delimiter {text:?}: only a plain text is supported"));
    }
    Ok(plain.to_owned())
}

/// The keys of a file, each with the keys that it is below, and its text.
fn keys(text: &str) -> BTreeMap<Vec<String>, String> {
    let (mut keys, mut above): (_, Vec<(usize, String)>) = (BTreeMap::new(), Vec::new());
    for line in text.lines() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with(['#', '-']) {
            continue;
        }
        let indent = line.len() - content.len();
        let Some((key, value)) = content.split_once(':') else { continue };
        if !value.is_empty() && !value.starts_with([' ', '\t']) {
            continue; // not a key: a colon inside a text
        }
        above.retain(|(at, _)| *at < indent);
        above.push((indent, unquoted(key.trim()).to_owned()));
        let path = above.iter().map(|(_, key)| key.clone()).collect();
        keys.insert(path, scalar(value.trim()));
    }
    keys
}

/// The text of a value without quotes, or without a comment.
fn scalar(value: &str) -> String {
    if let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) {
        let inside = &value[1..];
        return inside.rfind(quote).map_or(inside, |end| &inside[..end]).to_owned();
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

fn unquoted(key: &str) -> &str {
    key.trim_matches(['"', '\''])
}
