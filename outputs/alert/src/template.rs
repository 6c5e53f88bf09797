//! The JSON that known services expect. The text of alerts comes from the network and is not trusted: markup and mentions
//! in it have no effect. Each service's maximum length is respected.

use aw_detect::AlertKind;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::notification::Notification;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// docs.ntfy.sh/publish, "Publish as JSON".
    Ntfy,
    /// gotify.net/api-docs, `POST /message`.
    Gotify,
    /// core.telegram.org/bots/api, `sendMessage`.
    Telegram,
    /// Incoming webhooks of Slack.
    Slack,
    /// discord.com/developers/docs/resources/webhook, "Execute Webhook".
    Discord,
    /// Incoming webhooks of Mattermost.
    Mattermost,
    /// A workflow of Teams, "When a Teams webhook request is received".
    Teams,
    /// github.com/caronc/apprise-api, `POST /notify/KEY`.
    Apprise,
    /// pushover.net/api, `POST /1/messages.json`.
    Pushover,
}

impl Template {
    pub fn name(self) -> &'static str {
        match self {
            Template::Ntfy => "ntfy",
            Template::Gotify => "gotify",
            Template::Telegram => "telegram",
            Template::Slack => "slack",
            Template::Discord => "discord",
            Template::Mattermost => "mattermost",
            Template::Teams => "teams",
            Template::Apprise => "apprise",
            Template::Pushover => "pushover",
        }
    }

    /// Whether the URL is the secret: any client that knows it can post.
    pub fn has_secret_url(self) -> bool {
        matches!(self, Template::Slack | Template::Discord | Template::Mattermost | Template::Teams)
    }

    /// Bytes of a subject and a text, together, that it does not cut; cards of Teams have 60 lines.
    pub fn max_bytes(self) -> usize {
        match self {
            Template::Gotify => usize::MAX,
            Template::Pushover => 1000,
            Template::Mattermost => 3500,
            Template::Ntfy | Template::Telegram | Template::Discord | Template::Apprise => 4000,
            Template::Slack | Template::Teams => 8000,
        }
    }

    /// Whether the body is a form. All others are JSON.
    pub fn is_form(self) -> bool {
        self == Template::Pushover
    }

    /// The body of the request. `target`: ntfy's topic, Telegram's chat, Pushover's user, Apprise's tag, which may be empty.
    pub fn body(self, message: &Notification, target: &str, priority: Option<i8>) -> Value {
        let (title, text, max) = (&message.subject, plain(&message.text), self.max_bytes());
        let mut body = match self {
            Template::Ntfy => {
                json!({"topic": target, "title": title, "message": short(&text, max)})
            }
            Template::Gotify => json!({"title": title, "message": text}),
            Template::Telegram => json!({
                "chat_id": target, "text": short(&format!("{title}\n{text}"), max),
                "link_preview_options": {"is_disabled": true},
            }),
            // & < > must be escaped; there is no markup within a code block.
            Template::Slack => {
                let escaped = |text: &str| {
                    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
                };
                json!({"text": fenced(&escaped(title), &escaped(&short(&text, max)))})
            }
            Template::Discord => json!({
                "embeds": [{"title": short(title, 250), "description": fenced("", &short(&text, max))}],
                "allowed_mentions": {"parse": []},
            }),
            Template::Mattermost => json!({"text": fenced(title, &short(&text, max))}),
            // Text runs have no markup and no line breaks: each line is a block of its own.
            Template::Teams => {
                let run = |text: &str, weight: &str| {
                    json!({
                        "type": "RichTextBlock", "spacing": "None",
                        "inlines": [{"type": "TextRun", "text": text, "weight": weight}],
                    })
                };
                let text = lines(&short(&text, max), 60);
                let lines = text.lines().filter(|line| !line.is_empty());
                let blocks = lines.map(|line| run(line, "Default"));
                let blocks: Vec<_> = [run(title, "Bolder")].into_iter().chain(blocks).collect();
                json!({
                    "type": "message",
                    "attachments": [{
                        "contentType": "application/vnd.microsoft.card.adaptive",
                        "contentUrl": null,
                        "content": {
                            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                            "type": "AdaptiveCard", "version": "1.4", "body": blocks,
                        },
                    }],
                })
            }
            Template::Apprise => {
                let kind = apprise_type(&message.fields["kind"]);
                let text = short(&text, max);
                let mut body =
                    json!({"title": title, "body": text, "type": kind, "format": "text"});
                if !target.is_empty() {
                    body["tag"] = target.into();
                }
                body
            }
            Template::Pushover => json!({
                "user": target, "title": short(title, 240), "message": short(&text, max),
                "timestamp": message.fields["seconds"],
            }),
        };
        if let Some(priority) = priority {
            body["priority"] = priority.into();
            if self == Template::Pushover && priority == 2 {
                // An emergency is repeated until the user confirms it: each minute, for an hour.
                (body["retry"], body["expire"]) = (60.into(), 3600.into());
            }
        }
        body
    }
}

/// The type of a message, which the services behind Apprise show as a colour.
fn apprise_type(kind: &Value) -> &'static str {
    match kind.as_str() {
        Some("duplicate" | "changed" | "flip_flop" | "mismatch" | "unknown_device") => "warning",
        Some(kind) if is_of_infrastructure(kind) => "warning",
        Some("silent" | "channel_fails") => "failure",
        Some("back") => "success",
        _ => "info",
    }
}

fn is_of_infrastructure(kind: &str) -> bool {
    let kind = serde_json::from_value::<AlertKind>(kind.into());
    kind.is_ok_and(AlertKind::is_of_infrastructure)
}

/// The text without its columns and without unknown values, for narrow screens.
fn plain(text: &str) -> String {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.ends_with(": <unknown>"));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The line of a text that names the host.
const REPORTED_BY: &str = "\nreported by";

/// Cuts a text at a line end so that it has at most `max` bytes, without the mark of the cut.
fn short(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max - host_line(text).len().min(max / 2));
    let end = text[..end].rfind('\n').unwrap_or(end);
    cut(text, end)
}

/// Cuts a text to at most `max` lines.
fn lines(text: &str, max: usize) -> String {
    let end = text.match_indices('\n').nth(max).map(|(at, _)| at);
    end.map_or_else(|| text.to_owned(), |end| cut(text, end))
}

/// The text up to there, and the line that names the host, if that is after it.
fn cut(text: &str, end: usize) -> String {
    format!("{}\n[cut]{}", &text[..end], host_line(&text[end..]))
}

/// The line that names the host, with the line end before it. A digest has it at its end.
fn host_line(text: &str) -> &str {
    let Some(at) = text.rfind(REPORTED_BY) else { return "" };
    let end = text[at + 1..].find('\n').map_or(text.len(), |length| at + 1 + length);
    &text[at..end]
}

/// A title and a code block that its text cannot end.
fn fenced(title: &str, text: &str) -> String {
    let harmless = |text: &str| text.replace('`', "'");
    let title = if title.is_empty() { String::new() } else { format!("`{}`\n", harmless(title)) };
    format!("{title}```\n{}\n```", harmless(text))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::notification::tests::alert;
    use aw_detect::{Alert, AlertKind};
    use jiff::tz::TimeZone;

    impl Template {
        pub const ALL: [Template; 9] = [
            Template::Ntfy,
            Template::Gotify,
            Template::Telegram,
            Template::Slack,
            Template::Discord,
            Template::Mattermost,
            Template::Teams,
            Template::Apprise,
            Template::Pushover,
        ];
    }

    #[test]
    fn bodies() {
        let flip = Notification::of(&alert(AlertKind::FlipFlop), &TimeZone::UTC, false);
        let title = "flip flop: 00:08:e1:01:02:0b to Maker, 10.0.0.1 (eth0)";
        let text = "ip address: 10.0.0.1\ninterface: eth0\nethernet address: 00:08:e1:01:02:0a\nethernet vendor: Maker\n\
                    old ethernet address: 00:08:e1:01:02:0b\n\
                    timestamp: Tuesday, November 14, 2023 22:13:23 +0000\n\
                    previous timestamp: Tuesday, November 14, 2023 22:13:22 +0000\ndelta: 1 second";
        let body = |template: Template| template.body(&flip, "target", None);
        let ntfy = json!({"topic": "target", "title": title, "message": text});
        assert_eq!(body(Template::Ntfy), ntfy);
        assert_eq!(body(Template::Gotify), json!({"title": title, "message": text}));
        let telegram = body(Template::Telegram);
        assert_eq!(telegram["chat_id"], "target");
        assert_eq!(telegram["text"], format!("{title}\n{text}"));
        let code = format!("`{title}`\n```\n{text}\n```");
        assert_eq!(body(Template::Slack), json!({"text": code}));
        assert_eq!(body(Template::Mattermost), json!({"text": code}));
        let discord = body(Template::Discord);
        assert_eq!(discord["embeds"][0]["title"], title);
        assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
        let teams = body(Template::Teams);
        let card = &teams["attachments"][0]["content"];
        assert_eq!(card["body"][0]["inlines"][0]["text"], title);
        assert_eq!(card["body"].as_array().map(Vec::len), Some(9));
        let apprise = json!({"title": title, "body": text, "type": "warning", "format": "text", "tag": "target"});
        assert_eq!(body(Template::Apprise), apprise);
        assert!(Template::Apprise.body(&flip, "", None).get("tag").is_none());
        let pushover =
            json!({"user": "target", "title": title, "message": text, "timestamp": 1_700_000_003});
        assert_eq!(body(Template::Pushover), pushover);
        let emergency = Template::Pushover.body(&flip, "target", Some(2));
        assert_eq!((&emergency["retry"], &emergency["expire"]), (&60.into(), &3600.into()));
        let loud = Template::Ntfy.body(&flip, "target", Some(5));
        assert_eq!(loud["priority"], 5);
    }

    #[test]
    fn markup_in_alerts_has_no_effect() {
        let note = Some("<!channel> @everyone ``` & [x](http://evil)".to_owned());
        let hostile = Alert { note, ..alert(AlertKind::NewDevice) };
        let hostile = Notification::of(&hostile, &TimeZone::UTC, false);
        for template in [Template::Slack, Template::Mattermost, Template::Discord] {
            let body = template.body(&hostile, "", None);
            let text = body["text"].as_str().or(body["embeds"][0]["description"].as_str());
            let text = text.expect("a text");
            assert_eq!(text.matches("```").count(), 2, "{text}");
        }
        let slack = Template::Slack.body(&hostile, "", None);
        assert!(slack["text"].as_str().unwrap().contains("&lt;!channel&gt;"), "{slack}");
    }

    #[test]
    fn a_cut_digest_names_its_host() {
        let text = format!("300 alerts\n\n{}\nreported by sensor1\n", "a line\n".repeat(5000));
        let message = Notification { subject: "300 alerts".into(), text, fields: Value::Null };
        for template in Template::ALL {
            let body = template.body(&message, "target", None).to_string();
            assert!(body.contains("reported by sensor1"), "{template:?}: {body}");
        }
        let cut = short(&format!("{}\nreported by {}", "line\n".repeat(300), "h".repeat(64)), 1000);
        assert!(cut.len() <= 1024 && cut.ends_with('h'), "{cut}");
    }

    #[test]
    fn long_texts_are_cut_and_marked() {
        let message = Notification {
            subject: "é".repeat(400),
            text: "é a line\n".repeat(5000),
            fields: Value::Null,
        };
        for template in Template::ALL {
            let body = template.body(&message, "target", None);
            let all = body.to_string();
            let cut = template == Template::Gotify || all.contains("[cut]");
            assert!(cut && (template == Template::Gotify || all.len() < 28_000), "{template:?}");
        }
        assert_eq!(short("éé", 3), "é\n[cut]");
    }
}
