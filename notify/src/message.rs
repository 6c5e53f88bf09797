//! The format of a mail (RFC 5322).

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

use crate::Mail;

/// Bytes of a mail's text, at most: a diff can have megabytes, which mail servers refuse.
const MAX_TEXT: usize = 256 * 1024;
/// Characters of a subject, at most.
const MAX_SUBJECT: usize = 160;

/// A mail with its date and Message-ID; each attempt sends the same bytes.
pub(crate) fn message(from: &Mailbox, to: &[Mailbox], mail: &Mail) -> Result<Vec<u8>, String> {
    let subject: String = mail
        .subject
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(MAX_SUBJECT)
        .collect();
    let id = mail.id.map(|id| format!("<{id}@{}>", from.email.domain()));
    let mut builder = Message::builder().from(from.clone()).subject(subject).date_now();
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted"); // RFC 3834: no automatic replies
    let mut message = builder
        .message_id(id)
        .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
        .header(ContentType::TEXT_PLAIN)
        .body(shortened(mail.text))
        .map_err(|error| format!("format a mail: {error}"))?;
    if let Some(comment) = mail.comment {
        let plain = |c: &char| c.is_ascii_graphic() && !"()\\".contains(*c) || *c == ' ';
        let comment: String = comment.chars().filter(plain).collect(); // RFC 5322, 3.2.2
        let sender = HeaderName::new_from_ascii_str("From");
        let value = format!("{} ({comment})", from.email);
        message.headers_mut().insert_raw(HeaderValue::dangerous_new_pre_encoded(
            sender,
            value.clone(),
            value,
        ));
    }
    Ok(message.formatted())
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    let end = text[..end].rfind('\n').map_or(end, |at| at + 1);
    format!("{}[{} bytes more]\n", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let from = "a@example.org".parse().unwrap();
        let to = ["b@example.org".parse().unwrap(), "C <c@example.org>".parse().unwrap()];
        let subject = "core1: é\nBcc: evil@example.org";
        let mail = Mail { subject, text: "a\n.\n", id: None, comment: None };
        let bytes = message(&from, &to, &mail).unwrap();
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
    fn message_id_and_comment() {
        let from = "Watch <a@example.org>".parse().unwrap();
        let comment = Some("Arpwatch host)\r\nBcc: evil");
        let mail = Mail { subject: "s", text: "t\n", id: Some("7-1000"), comment };
        let bytes = message(&from, std::slice::from_ref(&from), &mail).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("From: a@example.org (Arpwatch hostBcc: evil)\r\n"), "{text}");
        assert_eq!(text.matches("From:").count(), 1, "{text}");
        assert!(text.contains("Message-ID: <7-1000@example.org>\r\n"), "{text}");
    }

    #[test]
    fn long_texts_are_cut_at_a_line_end() {
        let short = shortened(&"é line\n".repeat(100_000));
        assert!(short.len() < MAX_TEXT + 50);
        assert!(short.ends_with("é line\n[537856 bytes more]\n"), "{}", &short[short.len() - 50..]);
    }
}
