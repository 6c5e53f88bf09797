//! A message, as RFC 5322 wants it.

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

/// Bytes of a message's text, at most; a diff may be of megabytes, and mail servers refuse those.
const LONGEST_TEXT: usize = 256 * 1024;
/// Characters of a subject, at most.
const LONGEST_SUBJECT: usize = 160;

/// A message with its date and its id, ready to be sent any number of times.
pub(crate) fn message(
    from: &Mailbox,
    to: &[Mailbox],
    subject: &str,
    text: &str,
) -> Result<Vec<u8>, String> {
    let subject: String = subject
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(LONGEST_SUBJECT)
        .collect();
    let mut builder = Message::builder().from(from.clone()).subject(subject).date_now();
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted"); // RFC 3834: no answers wanted
    let message = builder
        .message_id(None)
        .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
        .header(ContentType::TEXT_PLAIN)
        .body(shortened(text))
        .map_err(|error| format!("write a mail: {error}"))?;
    Ok(message.formatted())
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LONGEST_TEXT);
    let end = text[..end].rfind('\n').map_or(end, |at| at + 1);
    format!("{}[{} bytes more]\n", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent() {
        let from = "a@example.org".parse().unwrap();
        let to = ["b@example.org".parse().unwrap(), "C <c@example.org>".parse().unwrap()];
        let bytes = message(&from, &to, "core1: é\nBcc: evil@example.org", "a\n.\n").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for header in [
            "From: a@example.org\r\n",
            "To: b@example.org, C <c@example.org>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Date: ",
            "Message-ID: <",
        ] {
            assert!(text.contains(header), "{header}: {text}");
        }
        assert!(!text.contains("\nBcc:"), "a subject is one line: {text}");
    }

    #[test]
    fn a_long_text_is_cut_at_a_line() {
        let short = shortened(&"é line\n".repeat(100_000));
        assert!(short.len() < LONGEST_TEXT + 50);
        assert!(short.ends_with("é line\n[537856 bytes more]\n"), "{}", &short[short.len() - 50..]);
    }
}
