//! The body of a webhook that the user has written: text with fields of the message, such as `{mac}`. The text of alerts comes
//! from the network and is not trusted: it is escaped as the content type wants it, so that it stays a value.

use form_urlencoded::byte_serialize;
use serde_json::Value;

use crate::notification::Notification;

/// The fields that a body may have. `subject` and `text` are those of a mail, the others are keys of the JSON object.
pub const FIELDS: [&str; 31] = [
    "subject",
    "text",
    "message",
    "kind",
    "seconds",
    "mac",
    "ip",
    "iface",
    "host",
    "ring",
    "name",
    "date",
    "time",
    "active-hours",
    "last",
    "vendor",
    "old_vendor",
    "old_mac",
    "old_name",
    "claimed_by",
    "claimed_name",
    "claimed_source",
    "old_claimed_name",
    "old_claimed_source",
    "frame_source",
    "previous",
    "note",
    "first",
    "count",
    "channel",
    "summary",
];

#[derive(Clone, Debug)]
pub struct OwnBody {
    pieces: Vec<Piece>,
    escape: Escape,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Field(String),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// Within a string of JSON.
    Json,
    /// Within a value of a form (application/x-www-form-urlencoded).
    Form,
    /// Within text or a quoted attribute.
    Xml,
    /// As it is, on one line; only `text` has several.
    Plain,
}

impl OwnBody {
    /// Parses a body. `{word}` is a field; other braces are text.
    pub fn parse(text: &str, content_type: &str) -> Result<OwnBody, String> {
        let escape = Escape::of(content_type)?;
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('{') {
            literal.push_str(&rest[..at]);
            let inner = &rest[at + 1..];
            let is_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            let end = inner.find(|c| !is_word(c)).unwrap_or(inner.len());
            let (name, after) = inner.split_at(end);
            match after.strip_prefix('}') {
                Some(after) if !name.is_empty() => {
                    if !FIELDS.contains(&name) {
                        let known = FIELDS.join(", ");
                        return Err(format!(
                            "webhook: body: no field {{{name}}} (fields: {known})"
                        ));
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    pieces.push(Piece::Field(name.into()));
                    rest = after;
                }
                _ => {
                    literal.push('{');
                    rest = inner;
                }
            }
        }
        pieces.push(Piece::Text(literal + rest));
        let body = OwnBody { pieces, escape };
        body.check().map(|()| body)
    }

    /// A body of JSON is JSON whether fields are empty or not.
    fn check(&self) -> Result<(), String> {
        for sample in ["", "\"x\n"] {
            // This field always has a value, which is a number.
            let text =
                self.render(|field| if field == "seconds" { "0".into() } else { sample.into() });
            if self.escape == Escape::Json
                && let Err(error) = serde_json::from_str::<Value>(&text)
            {
                return Err(format!(
                    "webhook: body: not valid JSON: {error} (put each field into quotes, or set Content-Type in headers)"
                ));
            }
        }
        Ok(())
    }

    /// The body of a message. A field that the message does not have is empty.
    pub fn of(&self, message: &Notification) -> String {
        self.render(|field| match field {
            "subject" => message.subject.clone(),
            "text" => message.text.clone(),
            field => match &message.fields[field] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        })
    }

    fn render(&self, value: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(field) => self.escape.apply(&value(field), field == "text"),
        };
        self.pieces.iter().map(piece).collect()
    }
}

impl Escape {
    fn of(content_type: &str) -> Result<Escape, String> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*kind {
            "application/x-www-form-urlencoded" => Ok(Escape::Form),
            "text/plain" => Ok(Escape::Plain),
            _ if kind.ends_with("/json") || kind.ends_with("+json") => Ok(Escape::Json),
            _ if kind.ends_with("xml") || kind == "text/html" => Ok(Escape::Xml),
            _ => Err(format!(
                "webhook: body: Content-Type {content_type:?}: must be JSON, XML, text/html, text/plain or \
                 application/x-www-form-urlencoded"
            )),
        }
    }

    fn apply(self, text: &str, lines: bool) -> String {
        match self {
            Escape::Json => {
                let quoted = Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Escape::Form => byte_serialize(text.as_bytes()).collect(),
            Escape::Xml => {
                let text = without_controls(text, true).replace('&', "&amp;").replace('<', "&lt;");
                text.replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
            }
            Escape::Plain => without_controls(text, lines),
        }
    }
}

fn without_controls(text: &str, lines: bool) -> String {
    let plain = |c: char| if c.is_control() && !(lines && c == '\n') { ' ' } else { c };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::tests::alert;
    use aw_detect::{Alert, AlertKind};
    use jiff::tz::TimeZone;

    fn body(text: &str, content_type: &str) -> Result<String, String> {
        let note = Some("a \"b\" <c> & d\nx=1".to_owned());
        let alert = Alert { note, ..alert(AlertKind::FlipFlop) };
        let message = Notification::of(&alert, &TimeZone::UTC, false);
        OwnBody::parse(text, content_type).map(|body| body.of(&message))
    }

    #[test]
    fn values_stay_values() {
        for (content_type, text, expected) in [
            (
                "application/json",
                r#"{"a": {"b": "{note}"}, "c": {seconds}}"#,
                r#"{"a": {"b": "a \"b\" <c> & d\nx=1"}, "c": 1700000003}"#,
            ),
            (
                "application/vnd.x+json; charset=utf-8",
                r#"["{mac}{last}", {}]"#,
                r#"["00:08:e1:01:02:0a2213", {}]"#,
            ),
            (
                "application/x-www-form-urlencoded",
                "m={note}&k={kind}",
                "m=a+%22b%22+%3Cc%3E+%26+d%0Ax%3D1&k=flip_flop",
            ),
            ("text/plain", "{note} {name}.", "a \"b\" <c> & d x=1 ."),
            ("application/xml", "<m>{note}</m>", "<m>a &quot;b&quot; &lt;c&gt; &amp; d\nx=1</m>"),
            ("text/plain", "{", "{"),
            ("text/plain", "{ {mac", "{ {mac"),
        ] {
            assert_eq!(body(text, content_type).unwrap(), expected, "{text}");
        }
        let text = body("{subject}: {text}", "text/plain").unwrap();
        assert!(
            text.starts_with("flip flop: 00:08:e1:01:02:0b to Maker, 10.0.0.1 (eth0): ")
                && text.lines().count() > 5,
            "{text}"
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (content_type, text, why) in [
            (
                "application/json",
                "{\"a\": \"{macs}\"}",
                "no field {macs} (fields: subject, text, message,",
            ),
            ("application/json", "{\"a\": \"{mac}\"", "not valid JSON"),
            ("application/json", "{\"a\": {previous}}", "put each field into quotes"),
            ("application/json", "{message}", "put each field into quotes"),
            ("image/png", "x", "Content-Type \"image/png\": must be JSON"),
        ] {
            let error = body(text, content_type).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn each_key_of_an_alert_is_a_field() {
        let message = Notification::of(&alert(AlertKind::FlipFlop), &TimeZone::UTC, false);
        for key in message.fields.as_object().unwrap().keys() {
            assert!(FIELDS.contains(&&**key), "{key}");
        }
    }
}
