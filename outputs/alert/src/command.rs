//! The environment of programs that get alerts.

use serde_json::Value;

/// Keys of macupd_tracker's alerter.
const KEYS: [&str; 8] = ["mac", "name", "ip", "iface", "date", "time", "last", "active-hours"];

/// Environment variables for a program: each field as `AW_` and its name in capitals, and the keys of macupd_tracker's
/// alerter under their own names. The message of a digest has its samples, too, and that of a list its lines, one below the other: a
/// program that shows it must show what happened.
/// NUL, which no variable can contain, is removed.
pub fn environment(fields: &Value) -> Vec<(String, String)> {
    // Every key is always set: a script may run with `set -u`.
    let always = KEYS.iter().filter(|key| fields.get(**key).is_none());
    let mut variables: Vec<_> = always.map(|key| ((*key).to_owned(), String::new())).collect();
    let samples = fields["samples"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let samples: String = samples.map(|sample| format!("\n{}", without_time(sample))).collect();
    let lines = fields["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let lines: String = lines.map(|line| format!("\n{line}")).collect();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let mut text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.replace('\0', ""),
            other => other.to_string(),
        };
        if key == "message" {
            text += &samples.replace('\0', "");
            // Of a list, the message for logs has all in one line.
            if !lines.is_empty() {
                let subject = fields["summary"].as_str().unwrap_or_default();
                text = format!("{subject}:{lines}").replace('\0', "");
            }
        }
        if KEYS.contains(&&**key) {
            variables.push((key.clone(), text.clone()));
        }
        variables.push((format!("AW_{}", key.to_uppercase().replace('-', "_")), text));
    }
    variables
}

/// A sample of a digest, which begins with the seconds since 1970.
fn without_time(sample: &str) -> &str {
    sample.split_once(' ').map_or(sample, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use aw_notify::run_program;

    #[test]
    fn a_digest_has_its_samples() {
        let fields = serde_json::json!({"kind": "digest", "message": "2 alerts: 2 new devices", "samples": ["5 new device a", "6 new device b"]});
        let variables = environment(&fields);
        let value =
            |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, text)| &**text);
        assert_eq!(
            value("AW_MESSAGE"),
            Some("2 alerts: 2 new devices\nnew device a\nnew device b")
        );
    }

    #[test]
    fn a_list_has_lines() {
        let fields = serde_json::json!({"kind": "learned", "summary": "learned: 2", "message": "learned: 2: a, b", "lines": ["a", "b"]});
        let variables = environment(&fields);
        let message = variables.iter().find(|(key, _)| key == "AW_MESSAGE").unwrap();
        assert_eq!(message.1, "learned: 2:\na\nb");
    }

    #[test]
    fn each_key_is_a_variable() {
        let fields =
            serde_json::json!({"mac": "00:08:e1:00:00:01", "seconds": 7, "name": "a\0; b"});
        // All variables are set, whatever the message has.
        let digest = serde_json::json!({"kind": "digest"});
        for (script, fields) in [
            (
                "read line; [ \"$line $mac $AW_SECONDS $name\" = 'line 00:08:e1:00:00:01 7 a; b' ]",
                fields,
            ),
            ("set -u; : $mac $name $ip $iface $date $time $last", digest),
        ] {
            let command = ["/bin/sh", "-c", script].map(str::to_owned);
            let limit = Duration::from_secs(20);
            assert_eq!(run_program(&command, &environment(&fields), "line\n", limit), Ok(()));
        }
    }
}
