//! What servers answer to aw-notify.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::Duration,
};

use ureq::http::StatusCode;

use crate::{Mail, MailOptions, MailSecrets, SmtpClient, Tls, TokenFile, token::parse_response};

/// Two bytes of a status, then any bytes as the answer of a token endpoint: it is a token that can be sent, or an error of
/// one line.
pub fn token(input: &[u8]) {
    let [high, low, body @ ..] = input else { return };
    let status = u16::from_be_bytes([*high, *low]) % 900 + 100;
    let Ok(status) = StatusCode::from_u16(status) else { return };
    match parse_response(status, body) {
        Ok(response) => {
            let token = response.access_token.reveal();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        Err(error) => assert!(!error.text.contains(char::is_control), "{:?}", error.text),
    }
}

/// What the mail server says to each connection.
static ANSWER: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

thread_local! {
    static CLIENT: SmtpClient = client();
}

/// Any bytes as all that a mail server says: the mail is sent, or refused for a reason.
pub fn smtp(input: &[u8]) {
    *ANSWER.lock().expect("the answer") = input.to_vec();
    let mail = Mail { subject: "a", text: "b\n", id: Some("id"), comment: None };
    if let Err(failure) = CLIENT.with(|client| client.send(&mail)) {
        assert!(!failure.to_string().is_empty());
    }
}

fn client() -> SmtpClient {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let server = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let answer = ANSWER.lock().expect("the answer").clone();
            // The client may close the connection at any time.
            let _ = stream.write_all(&answer).and_then(|()| stream.shutdown(Shutdown::Write));
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let options = MailOptions {
        plain_password: false,
        server,
        from: "a@example.org".into(),
        to: vec!["b@example.org".into(), "c@example.org".into()],
        tls: Some(Tls::None),
        ca_file: None,
        user: None,
        password_file: None,
        password_env: None,
        oauth: None,
        hello: Some("host.example.org".into()),
    };
    let token_file = TokenFile { path: "/nonexistent".into(), earlier: None };
    let limit = Duration::from_secs(5);
    SmtpClient::new(&options, &MailSecrets::default(), token_file, limit).expect("a client")
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("token", token);
    seeds::run("smtp", smtp);
}
