//! The format of a mail (RFC 5322).

use aw_service::{plain, plain_lines};
use lettre::{
    Address, Message,
    message::{
        Mailbox, Mailboxes, MessageBuilder,
        header::{ContentType, From, HeaderName, HeaderValue, Headers, MIME_VERSION_1_0},
    },
};

use crate::{Mail, hello};

/// Bytes of a mail's text, at most: a diff can have megabytes, which mail servers refuse.
const MAX_TEXT: usize = 256 * 1024;
/// Characters of a line of addresses, at most; more are in lines of their own.
const MAX_LINE: usize = 70;
/// Characters of a subject, at most.
const MAX_SUBJECT: usize = 160;

/// A mail with its date and Message-ID.
pub(crate) fn message(from: &Mailbox, to: &[Mailbox], mail: &Mail) -> Result<Vec<u8>, String> {
    let mut headers = Message::builder().from(from.clone());
    for mailbox in to {
        headers = headers.to(mailbox.clone());
    }
    let mut message = complete(headers, from.email.domain(), mail)?;
    if mail.comment.is_some() {
        set_header(&mut message, "From", commented(from.email.as_ref(), mail.comment));
    }
    Ok(message.formatted())
}

/// A mail for `sendmail -t`, which completes addresses without a domain. Its lines end with `\n`. Also returns the address of
/// the sender alone, for `-f`.
pub fn sendmail_message(
    from: &str,
    to: &[String],
    mail: &Mail,
) -> Result<(String, String), String> {
    if to.is_empty() {
        return Err("sendmail: no recipient (set to)".into());
    }
    let (_, sender) = name_and_address(from);
    let from = sendmail_address(from)?;
    let to = to.iter().map(|text| sendmail_address(text)).collect::<Result<Vec<_>, _>>()?;
    // The builder wants complete addresses; the header gets ours.
    let placeholder = Address::new("sender", "localhost").map_err(|error| error.to_string())?;
    let mailbox = Mailbox::new(None, placeholder);
    let headers = Message::builder().from(mailbox.clone()).to(mailbox);
    let host = hello::host_name();
    let domain = sender.rsplit_once('@').map_or(&*host, |(_, domain)| domain);
    let mut message = complete(headers, domain, mail)?;
    let value = if mail.comment.is_some() { commented(sender, mail.comment) } else { from };
    set_header(&mut message, "From", value);
    let to_length: usize = to.iter().map(|address| address.len() + 2).sum();
    let separator = if to_length > MAX_LINE { ",\r\n " } else { ", " };
    set_header(&mut message, "To", to.join(separator));
    let text = String::from_utf8_lossy(&message.formatted()).replace("\r\n", "\n");
    Ok((text, sender.to_owned()))
}

/// A name, which may be empty, and the address alone: of `Name <address>`, `address (Name)` or `address`.
fn name_and_address(text: &str) -> (&str, &str) {
    let is_edge = |c: char| c == '"' || c == ' ';
    if let Some((name, rest)) = text.rsplit_once('<') {
        return (name.trim_matches(is_edge), rest.split('>').next().unwrap_or(rest).trim());
    }
    match text.split_once('(') {
        Some((address, comment)) => (comment.trim_end_matches([')', ' ']), address.trim()),
        None => ("", text),
    }
}

/// An address as a header of sendmail has it: a name that is not ASCII is encoded (RFC 2047).
fn sendmail_address(text: &str) -> Result<String, String> {
    let (name, address) = name_and_address(text);
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let is_option = text.starts_with('-') || address.starts_with('-');
    if address.is_empty() || is_option || !is_plain(address) || text.contains(char::is_control) {
        return Err(format!("sendmail: {text:?} is not an address in ASCII (set from and to)"));
    }
    if is_plain(text) {
        return Ok(text.to_owned());
    }
    let mut headers = Headers::new();
    let placeholder = Address::new("x", "localhost").map_err(|error| error.to_string())?;
    headers.set(From::from(Mailboxes::from(Mailbox::new(Some(name.into()), placeholder))));
    let header = headers.to_string().replace("\r\n", "");
    let encoded = header.strip_prefix("From: ").and_then(|rest| rest.strip_suffix("<x@localhost>"));
    let encoded = encoded.unwrap_or_default().trim();
    Ok(format!("{encoded} <{address}>"))
}

/// Adds the other headers and the text to a mail with its addresses.
fn complete(headers: MessageBuilder, domain: &str, mail: &Mail) -> Result<Message, String> {
    let subject: String = plain(mail.subject).chars().take(MAX_SUBJECT).collect();
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted"); // RFC 3834: no automatic replies
    headers
        .subject(subject)
        .date_now()
        .message_id(mail.id.map(|id| format!("<{id}@{domain}>")))
        .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(shortened(&plain_lines(mail.text)))
        .map_err(|error| format!("format a mail: {error}"))
}

/// Replaces a header by a text in ASCII.
fn set_header(message: &mut Message, name: &'static str, value: String) {
    let name = HeaderName::new_from_ascii_str(name);
    let header = HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value);
    message.headers_mut().insert_raw(header);
}

/// An address with a comment (RFC 5322, 3.2.2).
fn commented(address: &str, comment: Option<&str>) -> String {
    let plain = |c: &char| c.is_ascii_graphic() && !"()\\".contains(*c) || *c == ' ';
    let comment: String = comment.unwrap_or_default().chars().filter(plain).collect();
    format!("{address} ({comment})")
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
            "MIME-Version: 1.0\r\n",
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
    fn mail_for_sendmail() {
        let (subject, text) = ("é\nBcc: evil@example.org", "ü\n");
        let to = ["root".to_owned(), "c@example.org".to_owned()];
        let mail = Mail { subject, text, id: Some("7"), comment: None };
        let (mail, sender) = sendmail_message("Watch <w@example.org>", &to, &mail).unwrap();
        assert_eq!(sender, "w@example.org");
        assert!(
            mail.starts_with("From: Watch <w@example.org>\nTo: root, c@example.org\n"),
            "{mail}"
        );
        for header in [
            "\nSubject: =?utf-8?b?",
            "\nDate: ",
            "\nMessage-ID: <7@example.org>\n",
            "\nMIME-Version: 1.0\n",
            "\nContent-Type: text/plain; charset=utf-8\n",
            "\nContent-Transfer-Encoding: ",
        ] {
            assert!(mail.contains(header), "{header}: {mail}");
        }
        assert!(mail.is_ascii() && !mail.contains("\nBcc") && !mail.contains('\r'), "{mail}");
        let subject = "x\nBcc: evil";
        let plain = Mail { subject, text: "t\n", id: None, comment: Some("Arpwatch h") };
        let (mail, sender) = sendmail_message("arpwatch", &to[..1], &plain).unwrap();
        assert!(mail.contains("\nSubject: x?Bcc: evil\n") && mail.ends_with("\n\nt\n"), "{mail}");
        assert_eq!(sender, "arpwatch");
        assert!(mail.starts_with("From: arpwatch (Arpwatch h)\nTo: root\n"), "{mail}");
        for (from, to) in
            [("-x", "root"), ("a\nBcc: b", "root"), ("", "root"), ("a", "r\u{e9}"), ("a", "-oQ")]
        {
            assert!(sendmail_message(from, &[to.to_owned()], &plain).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn names_for_sendmail_are_encoded_and_the_sender_is_the_address_alone() {
        let mail = Mail { subject: "s", text: "t\n", id: None, comment: None };
        let encoded = "=?utf-8?b?V8OkY2h0ZXI=?=";
        for (from, header) in [
            ("Wächter <w@example.org>", format!("From: {encoded} <w@example.org>\n")),
            ("\"Wächter\" <w@example.org>", format!("From: {encoded} <w@example.org>\n")),
            ("w@example.org (Wächter)", format!("From: {encoded} <w@example.org>\n")),
            ("w@example.org (Watch)", "From: w@example.org (Watch)\n".into()),
            ("Watch <w@example.org> (x)", "From: Watch <w@example.org> (x)\n".into()),
        ] {
            let to = ["Büro <root>".to_owned()];
            let (text, sender) = sendmail_message(from, &to, &mail).unwrap();
            assert!(text.starts_with(&header) && text.is_ascii(), "{from}: {text}");
            assert!(text.contains("\nTo: =?utf-8?b?QsO8cm8=?= <root>\n"), "{text}");
            assert_eq!(sender, "w@example.org", "{from}");
        }
        let long = format!("{} <w@example.org>", "ä".repeat(200));
        assert!(sendmail_message(&long, &["root".to_owned()], &mail).unwrap().0.is_ascii());
        for from in ["w\u{e4}@example.org", "(Watch)", "x <-oQ>", "W\u{e4}\nBcc: x <w@e.org>"] {
            assert!(sendmail_message(from, &["root".to_owned()], &mail).is_err(), "{from}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_line_end() {
        let short = shortened(&"é line\n".repeat(100_000));
        assert!(short.len() < MAX_TEXT + 50);
        assert!(short.ends_with("é line\n[537856 bytes more]\n"), "{}", &short[short.len() - 50..]);
    }
}
