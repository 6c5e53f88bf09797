//! `config.txt` of ros-config-monitoring: an INI file with the mail server in its section `[DEFAULT]`.

use std::collections::HashMap;

use aw_notify::{MailOptions, Tls};

/// The settings that aw-routeros uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyConfig {
    /// The mail server and addresses, unless `enable_email` is off.
    pub mail: Option<MailOptions>,
    /// A file for changes, in addition to the terminal.
    pub log_file: Option<String>,
    /// Names of intervals, which have no effect.
    pub intervals: Vec<String>,
}

impl LegacyConfig {
    /// Parses the file: names in upper or lower case, `=` or `:`, comments with `#` or `;`.
    pub fn parse(text: &str) -> Result<LegacyConfig, String> {
        let values = default_section(text)?;
        let mut intervals: Vec<_> =
            values.keys().filter(|key| key.ends_with("_interval")).cloned().collect();
        intervals.sort();
        let log_file = values.get("log_file_name").filter(|name| !name.is_empty());
        let log_file = log_file.map(|name| unquoted(name));
        Ok(LegacyConfig { mail: mail(&values), log_file, intervals })
    }
}

/// The values of the section `[DEFAULT]`, by their names in lower case.
fn default_section(text: &str) -> Result<HashMap<String, String>, String> {
    let mut values = HashMap::new();
    let mut section = String::from("DEFAULT");
    let mut last = None;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.into();
            continue;
        }
        if section != "DEFAULT" {
            continue;
        }
        let fault = |cause| format!("line {}: {cause}", number + 1);
        if line.starts_with([' ', '\t']) {
            // An indented line continues the value before it.
            let value: Option<&mut String> = last.as_ref().and_then(|key| values.get_mut(key));
            let value = value.ok_or_else(|| fault("indented, but there is no value before it"))?;
            value.push_str(&format!(",{content}"));
            continue;
        }
        let at = content.find(['=', ':']);
        let at = at.ok_or_else(|| fault("must be [SECTION] or NAME = VALUE"))?;
        let key = content[..at].trim().to_lowercase();
        values.insert(key.clone(), content[at + 1..].trim().to_owned());
        last = Some(key);
    }
    Ok(values)
}

fn mail(values: &HashMap<String, String>) -> Option<MailOptions> {
    let is_on = |text: &String| ["1", "yes", "true", "on"].contains(&text.to_lowercase().as_str());
    let get = |key: &str| values.get(key).filter(|value| !value.is_empty());
    let (server, from) = (unquoted(get("mail_server")?), unquoted(get("mail_from")?));
    let to: Vec<_> = get("mail_to")?.split([',', ';', ' ']).map(unquoted).collect();
    let to: Vec<_> = to.into_iter().filter(|to| !to.is_empty()).collect();
    let enabled = values.get("enable_email").is_none_or(is_on) && !to.is_empty();
    enabled.then_some(MailOptions {
        server,
        from,
        to,
        tls: Some(Tls::Opportunistic), // ros-config-monitoring uses no encryption
        ca_file: None,
        user: None,
        password_file: None,
        password_env: None,
        oauth: None,
        hello: None,
        plain_password: false,
    })
}

fn unquoted(text: &str) -> String {
    text.trim_matches(['[', ']', '"', '\'', ' ', ',']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let text = "[DEFAULT]\n# where\nLOG_FILE_NAME = watch.log\nmail_server: 192.0.2.25\n\
            MAIL_FROM = a@example.org\nMail_To = b@example.org, c@example.org\n  d@example.org\n\
            LOG_WATCH_INTERVAL = 0.05\nRECONNECT_INTERVAL = 5\nenable_email = True\n[OTHER]\nmail_from = x\n";
        let config = LegacyConfig::parse(text).unwrap();
        let mail = config.mail.unwrap();
        assert_eq!((mail.server.as_str(), mail.from.as_str()), ("192.0.2.25", "a@example.org"));
        assert_eq!(mail.tls, Some(Tls::Opportunistic));
        assert_eq!(mail.to, ["b@example.org", "c@example.org", "d@example.org"]);
        assert_eq!(config.log_file.as_deref(), Some("watch.log"));
        assert_eq!(config.intervals, ["log_watch_interval", "reconnect_interval"]);
        let off = LegacyConfig::parse(&text.replace("True", "no")).unwrap();
        assert_eq!(off.mail, None);
        assert_eq!(LegacyConfig::parse("").unwrap(), LegacyConfig::default());
        assert!(LegacyConfig::parse("what is this").unwrap_err().contains("line 1"));
    }
}
