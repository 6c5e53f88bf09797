//! Mail of `aw-alert`: a login with a token as Microsoft 365 and Gmail want it, the name in EHLO, and what sendmail gets.
#![forbid(unsafe_code)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use aw_tests::alerting::{Alert, impatient, smtp};
use aw_tests::capture_file::save;
use aw_tests::certificates::make_certificates;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Finished, run, run_with};
use aw_tests::web_sink::WebSink;

/// The keys of mail with a token from this server.
fn oauth(url: &str, keys: &str) -> String {
    format!(
        ", user = \"watch@example.org\", oauth = {{ token_url = \"{url}/token\", client_id = \"id&1\", {keys} }}"
    )
}

/// A response of a token endpoint.
fn issued(access: &str, seconds: u32, refresh: &str) -> String {
    format!(
        "200 {{\"token_type\":\"Bearer\",\"access_token\":\"{access}\",\"expires_in\":{seconds}{refresh}}}"
    )
}

/// The forms that the token endpoint got.
fn forms(server: &WebSink) -> Vec<String> {
    let body = |request: &serde_json::Value| request["body"].as_str().expect("text").to_owned();
    server.requests().iter().map(body).collect()
}

fn failed_without_secrets(ended: &Finished, why: &str) {
    assert!(!ended.status.success() && ended.stderr.contains(why), "{why}: {}", ended.stderr);
    for secret in ["rt-", "at-", "s3cret"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

/// A token is requested once and used until it expires; the server replaces the refresh token, and the new one is used
/// after a restart, until the user logs in again.
#[test]
fn a_login_with_a_refresh_token() {
    let alert = Alert::new();
    let certificates = alert.path("tls");
    make_certificates(&certificates);
    let (mail, tokens) = (MailSink::with_token("at-1"), WebSink::start(Some(&certificates)));
    let (token, secret) = (alert.secret("refresh", "rt-1\n"), alert.secret("secret", "s3cret/+\n"));
    let ca = certificates.join("ca.pem");
    let keys = format!(
        "client_secret_file = {secret:?}, refresh_token_file = {token:?}, scope = \"https://outlook.office.com/SMTP.Send offline_access\""
    );
    let more = oauth(&format!("https://127.0.0.1:{}", tokens.port), &keys);
    alert.config(&smtp(&mail, &format!("{more}, ca_file = {ca:?}")));
    tokens.mood(&issued("at-1", 3600, ",\"refresh_token\":\"rt-2\""));
    alert.publish(1..3);
    alert.once();
    let letter = mail.wait_for(&["Subject: new device: 00:08:e1:00:00:02, 10.0.0.2 (pcap)"]);
    assert!(
        letter.contains("AS watch@example.org\n") && letter.contains("\nMIME-Version: 1.0\n"),
        "{letter}"
    );
    assert_eq!(mail.count(), 2);
    let form = "grant_type=refresh_token&refresh_token=rt-1&client_id=id%261&client_secret=s3cret%2F%2B\
                &scope=https%3A%2F%2Foutlook.office.com%2FSMTP.Send+offline_access";
    assert_eq!(forms(&tokens), [form], "one token for both mails");
    let request = &tokens.requests()[0];
    assert_eq!(
        (&request["path"], &request["headers"]["content-type"]),
        (&"/token".into(), &"application/x-www-form-urlencoded".into())
    );
    // The refresh token that replaced the first one is stored for the owner only.
    let stored = stored_tokens(&alert);
    assert_eq!(stored.len(), 1);
    let stored = &stored[0];
    assert_eq!(fs::metadata(stored).expect("it is stored").permissions().mode() & 0o777, 0o600);
    tokens.mood(&issued("at-1", 3600, ""));
    alert.test("mail").ok();
    assert!(forms(&tokens)[1].contains("refresh_token=rt-2&"), "{:?}", forms(&tokens));
    // A stored token that is refused stays: the refusal may pass. The configured one is tried.
    tokens.mood("400 {\"error\":\"invalid_grant\"}");
    failed_without_secrets(&alert.test("mail"), "invalid_grant (log in again");
    let used = |form: usize, token: &str| {
        let forms = forms(&tokens);
        assert!(forms[form].contains(&format!("refresh_token={token}&")), "{forms:?}");
    };
    used(2, "rt-2");
    used(3, "rt-1");
    assert!(stored.exists());
    tokens.mood(&issued("at-1", 3600, ""));
    alert.test("mail").ok();
    used(4, "rt-2");
    // After another login, the token of that one is used.
    alert.secret("refresh", "rt-3\n");
    alert.test("mail").ok();
    used(5, "rt-3");
    // A token that is about to expire is not used again.
    tokens.mood(&issued("at-1", 30, ""));
    alert.publish(3..5);
    alert.once();
    assert_eq!(forms(&tokens).len(), 8);
}

/// The files in which refresh tokens are stored.
fn stored_tokens(alert: &Alert) -> Vec<PathBuf> {
    let entries = fs::read_dir(alert.path("state")).expect("it exists");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.to_string_lossy().contains("/oauth-")).collect()
}

/// Two channels with one refresh token, which the server replaces: it sees each token once.
#[test]
fn channels_with_one_refresh_token_share_what_replaces_it() {
    let (alert, mail, tokens) = (Alert::new(), MailSink::with_token("at-1"), WebSink::start(None));
    let token = alert.secret("refresh", "rt-1\n");
    let more = oauth(
        &format!("http://127.0.0.1:{}", tokens.port),
        &format!("refresh_token_file = {token:?}"),
    );
    let channel = smtp(&mail, &more);
    let other = channel.replace("name = \"mail\"", "name = \"night\"");
    assert_ne!(channel, other);
    alert.config(&format!("{channel}\n{other}"));
    // Stored by an earlier release, by the channel's name.
    let state = alert.path("state");
    fs::create_dir_all(&state).expect("our own directory");
    fs::write(state.join("oauth-mail"), "rt-1\nrt-1b\n").expect("our own file");
    for (channel, old, new) in
        [("mail", "rt-1b", "rt-2"), ("night", "rt-2", "rt-3"), ("mail", "rt-3", "rt-4")]
    {
        tokens.mood(&issued("at-1", 3600, &format!(",\"refresh_token\":{new:?}")));
        alert.test(channel).ok();
        let last = forms(&tokens).pop().expect("a form");
        assert!(last.contains(&format!("refresh_token={old}&")), "{channel}: {last}");
    }
}

/// The token of the application itself, which Microsoft recommends for programs.
#[test]
fn a_login_with_a_client_secret() {
    let (mut alert, mail, tokens) =
        (Alert::new(), MailSink::with_token("at-1"), WebSink::start(None));
    alert.variables.push(("OAUTH_SECRET", "s3cret".into()));
    let keys =
        "client_secret_env = \"OAUTH_SECRET\", scope = \"https://outlook.office365.com/.default\"";
    alert.config(&smtp(&mail, &oauth(&format!("http://127.0.0.1:{}", tokens.port), keys)));
    tokens.mood(&issued("at-1", 3600, ""));
    alert.test("mail").ok();
    let form = "grant_type=client_credentials&client_id=id%261&client_secret=s3cret\
                &scope=https%3A%2F%2Foutlook.office365.com%2F.default";
    assert_eq!(forms(&tokens), [form]);
}

#[test]
fn a_token_that_fails_is_a_failure_of_the_channel_with_its_remedy() {
    let (alert, mail, mut tokens) =
        (Alert::new(), MailSink::with_token("at-2"), WebSink::start(None));
    let token = alert.secret("refresh", "rt-1\n");
    let base = format!("http://127.0.0.1:{}", tokens.port);
    let more = oauth(&base, &format!("refresh_token_file = {token:?}"));
    let channel = smtp(&mail, &more);
    for (answer, why) in [
        (
            "400 {\"error\":\"invalid_grant\",\"error_description\":\"AADSTS700082: rt-1 has expired\"}",
            format!(
                "get a token from {base}: invalid_grant: AADSTS700082: *** has expired (log in again and put the new refresh token into {token})"
            ),
        ),
        (
            "401 {\"error\":\"invalid_client\"}",
            format!("{base}: invalid_client (check client_id and the client secret"),
        ),
        ("503 busy", format!("{base}: 503 Service Unavailable: \"busy\"")),
        ("200 {}", format!("{base}: 200 OK: no access token in the answer")),
        ("hang", format!("{base}: no response after 1 s")),
    ] {
        tokens.mood(answer);
        alert.config(&if answer == "hang" { impatient(&channel) } else { channel.clone() });
        failed_without_secrets(&alert.test("mail"), &why);
    }
    alert.config(&channel);
    assert!(mail.names().is_empty(), "without a token no connection is made");
    aw_tests::server::Server::kill(&mut tokens);
    failed_without_secrets(&alert.test("mail"), "onnection refused");
    aw_tests::server::Server::start_again(&mut tokens);
    // The mail server refuses the token, and the next one is a new one.
    tokens.mood(&issued("at-1", 3600, ""));
    failed_without_secrets(&alert.test("mail"), "535");
    assert!(
        alert
            .test("mail")
            .stderr
            .contains("the server refused the token: check user and the scope")
    );
    let (asked, greeted) = (forms(&tokens).len(), mail.greetings());
    alert.publish(1..3);
    let running = alert.start();
    running.stderr.wait_for("535");
    tokens.mood(&issued("at-2", 3600, ""));
    mail.wait_for(&["Subject: new device: 00:08:e1:00:00:02, 10.0.0.2 (pcap)"]);
    running.stop().ok();
    // One for each try that was refused, and one that is used for both mails.
    let (again, tries) = (forms(&tokens).len() - asked, mail.greetings() - greeted);
    assert!((2..=tries).contains(&again), "{again} tokens for {tries} logins");
    // A server without such a login.
    let plain = MailSink::start();
    alert.config(&smtp(&plain, &more));
    failed_without_secrets(&alert.test("mail"), "does not offer a login with a token (XOAUTH2)");
}

#[test]
fn a_token_of_a_program() {
    let (alert, mail) = (Alert::new(), MailSink::with_token("at-1"));
    let script = |text: &str| {
        let path = save(alert.directory.path(), "token", format!("#!/bin/sh\n{text}\n").as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("our own file");
        path
    };
    let path = script("[ $1 = mail ] && echo at-1");
    let more = format!(", user = \"w\", oauth = {{ command = [{path:?}, \"mail\"] }}");
    let channel = smtp(&mail, &more);
    alert.config(&channel);
    alert.publish(1..2);
    alert.once();
    assert!(
        mail.wait_for(&["Subject: new device: 00:08:e1:00:00:01, 10.0.0.1 (pcap)"])
            .contains("AS w\n")
    );
    for (text, why) in [
        ("exit 3", format!("run {path}: exit status: 3")),
        ("echo", format!("run {path}: no access token in the answer")),
        ("echo at-9 at-8", format!("run {path}: not an access token")),
        ("sleep 60", format!("run {path}: no end after 1 s")),
    ] {
        script(text);
        alert.config(&if text == "sleep 60" { impatient(&channel) } else { channel.clone() });
        failed_without_secrets(&alert.test("mail"), &why);
    }
}

#[test]
fn options_of_a_token_are_checked_at_the_start() {
    let (alert, mail) = (Alert::new(), MailSink::start());
    for (more, why) in [
        (", oauth = { command = [\"/x\"] }", "oauth needs user"),
        (
            ", user = \"u\", password_env = \"P\", oauth = { command = [\"/x\"] }",
            "oauth and a password exclude each other",
        ),
        (", user = \"u\"", "needs a password or a token"),
        (
            ", user = \"u\", oauth = { token_url = \"http://192.0.2.1/\", client_id = \"c\", refresh_token_env = \"R\" }",
            "without TLS",
        ),
        (
            ", user = \"u\", oauth = { token_url = \"https://a/\", client_id = \"c\", refresh_token_env = \"NO_SUCH\" }",
            "variable NO_SUCH is not set",
        ),
        (", hello = \"a b\"", "hello: \"a b\": must be a host name"),
    ] {
        let config = alert.config(&smtp(&mail, more));
        let check = run(alert.command(&["-c", &config, "--check"]));
        check.refused("aw-alert", &["channel \"mail\": ", why]);
    }
}

/// A filter that names HELO in its reason refuses this message only; the next one is sent.
#[test]
fn a_refusal_of_the_content_is_not_about_the_name_in_ehlo() {
    let (alert, mail) = (Alert::new(), MailSink::start());
    alert.config(&smtp(&mail, ""));
    mail.answer(Some("554 5.7.1 Spam: HELO_DYNAMIC"));
    let ended = alert.test("mail");
    let is_named = ended.stderr.contains("HELO_DYNAMIC") && !ended.stderr.contains("set hello");
    assert!(!ended.status.success() && is_named, "{}", ended.stderr);
    alert.publish(1..2);
    let running = alert.start();
    running.stderr.wait_for("HELO_DYNAMIC");
    mail.answer(None);
    alert.publish(2..3);
    mail.wait_for(&["Subject: new device: 00:08:e1:00:00:02, 10.0.0.2 (pcap)"]);
    assert_eq!(mail.count(), 1, "the refused one is set aside");
    running.stop();
}

/// The name in EHLO has a domain, or is an address; a server that refuses it gets another one by the key `hello`.
#[test]
fn the_name_in_ehlo_is_a_full_one() {
    let (alert, mail) = (Alert::new(), MailSink::start());
    mail.refuse_short_names("501 5.5.4 Invalid domain name");
    alert.config(&smtp(&mail, ""));
    alert.test("mail").ok();
    alert.config(&smtp(&mail, ", hello = \"gateway\""));
    let ended = alert.test("mail");
    assert!(
        ended.stderr.contains("Invalid domain name\" (set hello to the full name of this host"),
        "{}",
        ended.stderr
    );
    let names = mail.names();
    assert!(names[0].contains('.') || names[0].starts_with('['), "{names:?}");
    assert_eq!(names.last().expect("a name"), "gateway");
    // As postfix does it, when a recipient follows.
    alert.config(&smtp(&mail, ", hello = \"gateway.example.org\""));
    mail.answer_for(
        "a@example.org",
        "504 5.5.2 <gateway>: Helo command rejected: need fully-qualified hostname",
    );
    alert.publish(1..2);
    let ended = alert.once();
    assert!(ended.stderr.contains("need fully-qualified hostname"), "{}", ended.stderr);
    assert!(ended.stderr.contains("(set hello to the full name of this host"), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 messages stay in the queue"), "{}", ended.stderr);
    assert_eq!(mail.names().last().expect("a name"), "gateway.example.org");
}

/// A content filter whose answer names EHLO refuses one message: it is set aside, and delays no other.
#[test]
fn a_filter_that_names_hello() {
    let (alert, mail) = (Alert::new(), MailSink::start());
    alert.config(&smtp(&mail, ""));
    alert.publish(1..2);
    alert.once();
    mail.answer(Some("554 5.7.1 Spam: HELO_DYNAMIC EHLO"));
    let running = alert.start();
    alert.publish(2..3);
    let line = running.stderr.wait_for("HELO_DYNAMIC");
    assert!(!line.contains("set hello"), "{line}");
    mail.answer(None);
    alert.publish(3..4);
    mail.wait_for(&["Subject: new device: 00:08:e1:00:00:03, 10.0.0.3 (pcap)"]);
    assert_eq!(mail.count(), 2, "the one that was refused is sent at the next start");
    running.stop().ok();
}

/// What `sendmail` gets, read by another implementation.
#[test]
fn sendmail_gets_a_complete_mail() {
    let alert = Alert::new();
    let out = alert.path("letter");
    let script = format!("#!/bin/sh\necho \"$@\" >> {0}.args\nexec cat >> {0}\n", out.display());
    let sendmail = save(alert.directory.path(), "sendmail", script.as_bytes());
    fs::set_permissions(&sendmail, Permissions::from_mode(0o755)).expect("our own file");
    let names = alert.secret("known", "00:08:e1:00:00:01|Küche & Flur\n");
    alert.config(&format!(
        "known = {names:?}\n[[channel]]\nname = \"mail\"\nkinds = [\"new_device\"]\nsendmail = {{ path = {sendmail:?}, \
         from = \"Watch <watch@example.org>\", to = [\"root\", \"noc@example.org\"] }}\n"
    ));
    alert.publish(1..2);
    alert.once();
    let arguments = fs::read_to_string(alert.path("letter.args")).expect("it ran");
    assert_eq!(arguments, "-t -i -f watch@example.org\n");
    let letter = fs::read(&out).expect("it ran");
    assert!(letter.is_ascii() && !letter.contains(&b'\r'), "{}", String::from_utf8_lossy(&letter));
    let python = "import sys, email, email.policy\n\
                  mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
                  for name in ['from', 'to', 'subject', 'mime-version', 'auto-submitted']: print(mail[name])\n\
                  print(mail['date'].datetime.year, mail['message-id'])\n\
                  print(mail.get_content())";
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-c", python]).env("PYTHONIOENCODING", "utf-8");
    let read = run_with(command, &letter).ok().stdout;
    let lines: Vec<_> = read.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "Watch <watch@example.org>",
            "root, noc@example.org",
            "new device: Küche & Flur, 10.0.0.1 (pcap)",
            "1.0",
            "auto-generated"
        ]
    );
    assert!(lines[5].starts_with("20") && lines[5].contains(" <1-1001."), "{read}");
    assert!(
        lines[5].ends_with("@example.org>")
            && read.contains("\n            hostname: Küche & Flur\n"),
        "{read}"
    );
}
