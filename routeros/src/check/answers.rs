//! What the answers of a router mean: the rights of the user, the clock.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

use crate::{config::Router, session::POLICIES};

/// Whether the user's group has the policies that are needed: `ssh`, `read`, `sensitive` if secrets are exported, and those
/// that `backup` needs. A
/// user without permission to list users may have these policies too.
pub fn rights(router: &Router, users: &str, groups: &str) -> String {
    let entry = |text, name: &str| {
        entries(text).into_iter().find(|entry| field(entry, "name") == Some(name))
    };
    let user = entry(users, &router.user);
    let group = user.as_deref().and_then(|user| field(user, "group"));
    let group = group.and_then(|group| entry(groups, group));
    let needed: &[&str] = match (router.backup, router.show_sensitive) {
        (true, _) => &POLICIES,
        (false, true) => &["ssh", "read", "sensitive"],
        (false, false) => &["ssh", "read"],
    };
    let Some(policies) = group.as_deref().and_then(|group| field(group, "policy")) else {
        return format!(
            "unknown: the router does not print the user's group (/user group print on it: it needs {})",
            needed.join(", ")
        );
    };
    let has = |policy: &str| policies.split(',').any(|one| one == policy);
    let missing: Vec<_> = needed.iter().copied().filter(|policy| !has(policy)).collect();
    let more = ["write", "policy", "reboot"].into_iter();
    let more: Vec<_> = more.filter(|it| has(it) && !needed.contains(it)).collect();
    match (&*missing, &*more) {
        ([], []) => "ok".into(),
        ([], more) => format!("ok, {} not needed", more.join(", ")),
        (missing, _) => format!("{} missing", missing.join(", ")),
    }
}

/// The numbered entries of `print detail`, each in one line. RouterOS wraps them between words or after a comma.
fn entries(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            entries.push(format!(" {line}"));
        } else if let Some(entry) = entries.last_mut() {
            let gap = if entry.ends_with(',') { "" } else { " " };
            *entry += &format!("{gap}{line}");
        }
    }
    entries
}

/// A value of an entry, without quotes.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = entry.split_once(&format!(" {name}="))?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(' ').next(),
    }
}

/// The time in `/system clock print`, with its offset from UTC.
pub fn clock(text: &str) -> Option<Timestamp> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let date = value("date")?;
    let date = match jiff::civil::Date::strptime("%Y-%m-%d", date) {
        Ok(date) => date,
        Err(_) => jiff::civil::Date::strptime("%b/%d/%Y", date.replace(' ', "")).ok()?,
    };
    let time = jiff::civil::Time::strptime("%H:%M:%S", value("time")?).ok()?;
    let offset = value("gmt-offset")?;
    let (hours, minutes) = offset.trim_start_matches(['+', '-']).split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let offset =
        Offset::from_seconds(if offset.starts_with('-') { -seconds } else { seconds }).ok()?;
    offset.to_timestamp(DateTime::from_parts(date, time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn clocks() {
        let v7 = "                  time: 14:05:00\r\n                  date: 2026-11-22\r\n  time-zone-autodetect: yes\r\n            gmt-offset: +01:00\r\n";
        let v6 = "time: 12:05:00\ndate: nov/22/2026\ngmt-offset: -01:00\n";
        assert_eq!(clock(v7), "2026-11-22T13:05:00Z".parse().ok());
        assert_eq!(clock(v6), clock(v7));
        assert_eq!(clock("what"), None);
    }

    #[test]
    fn rights_of_the_user() {
        let users = "Flags: X - disabled\r\n 0   ;;; system default user\r\n     name=\"admin\" group=full address=\"\"\r\n\r\n \
            1   name=\"audit\" group=our audit address=\"\"\r\n 2   name=\"look\" group=\"our looks\"\r\n 3 X name=\"web\" group=web\r\n";
        let groups = " 0 name=\"web\" policy=read,web,!ssh\r\n 1 name=\"our looks\" policy=ssh,read,!local,!telnet,\r\n      \
            !write,!sensitive skin=default\r\n 2 name=\"full\" policy=local,telnet,ssh,ftp,\r\n      reboot,read,write,policy,sensitive \r\n      skin=default\r\n";
        let of = |user: &str, more: &str| {
            let text = format!(
                "archive = \"/\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = {user:?}\nagent = true\n{more}"
            );
            rights(&Config::parse(&text).unwrap().routers[0], users, groups)
        };
        assert_eq!(of("look", ""), "ok");
        assert_eq!(of("look", "show_sensitive = true"), "sensitive missing");
        assert_eq!(of("admin", "show_sensitive = true"), "ok, write, policy, reboot not needed");
        assert_eq!(of("web", ""), "ssh missing");
        let text = "archive = \"/\"\nencrypt_to = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n\
            [[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = \"admin\"\nagent = true\nbackup = true\n";
        let router = &Config::parse(text).unwrap().routers[0];
        assert_eq!(rights(router, users, groups), "test missing");
        let groups = groups.replace("write,policy", "write,test,policy");
        assert_eq!(rights(router, users, &groups), "ok, reboot not needed");
        for user in ["nobody", "audit", "full", ""] {
            assert!(of(user, "").starts_with("unknown"), "{user}");
        }
        assert!(rights(&Config::parse("archive = \"/\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true").unwrap().routers[0], "not enough permissions (9)", "").starts_with("unknown"));
    }
}
