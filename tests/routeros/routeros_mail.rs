//! Mail of `aw-routeros` with a token instead of a password, within its sandbox.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::run;
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use aw_tests::web_sink::WebSink;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The token endpoint is reached over TLS, and the refresh token that it issues is stored in the archive.
#[test]
fn a_login_with_a_token() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mail = MailSink::with_token("at-1");
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("tls");
    make_certificates(&certificates);
    let tokens = WebSink::start(Some(&certificates));
    let token = directory.path().join("refresh");
    fs::write(&token, "rt-1\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let oauth = format!(
        "oauth = {{ token_url = \"https://127.0.0.1:{}/token\", client_id = \"c\", refresh_token_file = {token:?} }}",
        tokens.port
    );
    let watching = Watching::new(&ring)
        .mail(mail.port)
        .mail_option("user = \"watch@example.org\"")
        .mail_option(&format!("ca_file = {:?}", certificates.join("ca.pem")))
        .mail_option(&oauth)
        .router("core1", &router, Version::V7);
    tokens.mood("400 {\"error\":\"invalid_grant\"}");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    let line = daemon.stderr.wait_for("mail cannot be sent, 1 in the queue");
    assert!(
        line.contains("invalid_grant (log in again and put the new refresh token into /"),
        "{line}"
    );
    tokens.mood("200 {\"access_token\":\"at-1\",\"expires_in\":3600,\"refresh_token\":\"rt-2\"}");
    let letter = mail.wait_for(&["changed by alice"]);
    assert!(letter.contains("AS watch@example.org\n"), "{letter}");
    let stored = fs::read_to_string(watching.archive(".spool/refresh-token")).unwrap();
    assert_eq!(stored, "rt-1\nrt-2\n");
    daemon.stop().ok();
}

/// The sandbox allows no program that prints a token.
#[test]
fn a_program_is_refused() {
    let ring = Ring::new();
    let watching = Watching::new(&ring)
        .mail(25)
        .mail_option("user = \"w\"")
        .mail_option("oauth = { command = [\"/bin/echo\", \"at-1\"] }");
    run(watching.command())
        .refused("aw-routeros", &["mail: oauth: command: the sandbox of aw-routeros"]);
}
