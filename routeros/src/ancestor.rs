//! `config.txt` of ros-config-monitoring: an INI file whose section `[DEFAULT]` says where mail goes.

use std::collections::HashMap;

use aw_notify::{MailOptions, Tls};

/// What of it still means something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestor {
    /// Where mail goes, if `enable_email` does not forbid it.
    pub mail: Option<MailOptions>,
    /// Where what is found is written, besides the terminal.
    pub log_file: Option<String>,
    /// Its intervals, which mean nothing here: nothing is polled, and pauses grow.
    pub intervals: Vec<String>,
}

impl Ancestor {
    /// Reads its text: names in any case, `=` or `:`, comments with `#` or `;`.
    pub fn parse(text: &str) -> Result<Ancestor, String> {
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
            if line.starts_with([' ', '\t']) {
                // A value goes on in lines that are indented.
                let value: Option<&mut String> = last.as_ref().and_then(|key| values.get_mut(key));
                value
                    .ok_or_else(|| format!("line {}: indented", number + 1))?
                    .push_str(&format!(",{content}"));
                continue;
            }
            let at = content.find(['=', ':']);
            let (key, value) = at
                .map(|at| (content[..at].trim().to_lowercase(), content[at + 1..].trim()))
                .ok_or_else(|| format!("line {}: neither a section nor a value", number + 1))?;
            values.insert(key.clone(), value.to_owned());
            last = Some(key);
        }
        let is_on =
            |text: &String| ["1", "yes", "true", "on"].contains(&text.to_lowercase().as_str());
        let enabled = values.get("enable_email").is_none_or(is_on);
        let get = |key: &str| values.get(key).filter(|value| !value.is_empty());
        let unquoted = |text: &str| text.trim_matches(['[', ']', '"', '\'', ' ', ',']).to_owned();
        let to: Vec<String> = get("mail_to")
            .map(|list| {
                list.split([',', ';', ' ']).map(unquoted).filter(|to| !to.is_empty()).collect()
            })
            .unwrap_or_default();
        let mail = match (get("mail_server"), get("mail_from")) {
            (Some(server), Some(from)) if enabled && !to.is_empty() => Some(MailOptions {
                server: unquoted(server),
                from: unquoted(from),
                to,
                tls: Some(Tls::Opportunistic), // it spoke plainly, to any server
                ca_file: None,
                user: None,
                password_file: None,
                password_env: None,
                hello: None,
            }),
            _ => None,
        };
        let log_file = get("log_file_name").map(|name| unquoted(name));
        let mut intervals: Vec<_> =
            values.keys().filter(|key| key.ends_with("_interval")).cloned().collect();
        intervals.sort();
        Ok(Ancestor { mail, log_file, intervals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_file() {
        let text = "[DEFAULT]\n# where\nLOG_FILE_NAME = watch.log\nmail_server: 192.0.2.25\n\
            MAIL_FROM = a@example.org\nMail_To = b@example.org, c@example.org\n  d@example.org\n\
            LOG_WATCH_INTERVAL = 0.05\nRECONNECT_INTERVAL = 5\nenable_email = True\n[OTHER]\nmail_from = x\n";
        let ancestor = Ancestor::parse(text).unwrap();
        let mail = ancestor.mail.unwrap();
        assert_eq!((mail.server.as_str(), mail.from.as_str()), ("192.0.2.25", "a@example.org"));
        assert_eq!(mail.tls, Some(Tls::Opportunistic));
        assert_eq!(mail.to, ["b@example.org", "c@example.org", "d@example.org"]);
        assert_eq!(ancestor.log_file.as_deref(), Some("watch.log"));
        assert_eq!(ancestor.intervals, ["log_watch_interval", "reconnect_interval"]);
        let off = Ancestor::parse(&text.replace("True", "no")).unwrap();
        assert_eq!(off.mail, None);
        assert_eq!(Ancestor::parse("").unwrap(), Ancestor::default());
        assert!(Ancestor::parse("what is this").unwrap_err().contains("line 1"));
    }
}
