//! A mail server that stores mails in files: Debian's aiosmtpd, in a process.

use crate::rig::{Run, wait_until};
use crate::server::{Server, ServerProcess, free_port, listens};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes each message to a new file. The file `mood` controls its answers: with this text, `slow`ly, or it is killed when
/// it has the message. With TLS it requires a user and a password as well; with `tokens` it requires a token, as Gmail
/// does, which is in a file.
const SERVER: &str = "\
import sys, os, time, ssl, asyncio, base64
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
port, directory, tls, pem = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
class Keep:
    count = len(os.listdir(directory))
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name, session.mails = hostname, 0
        with open(os.path.join(directory, 'greetings'), 'a') as f:
            f.write(hostname + '\\n')
        refusal = os.path.join(directory, 'hello')
        if '.' not in hostname and os.path.exists(refusal):
            session.host_name = None
            return [open(refusal).read()]
        return responses
    async def handle_MAIL(self, server, session, envelope, address, options):
        session.mails += 1
        most = os.path.join(directory, 'most')
        if os.path.exists(most) and session.mails > int(open(most).read()):
            return '421 enough'
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return '250 fine'
    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = os.path.join(directory, 'for-' + address)
        if os.path.exists(answer):
            return open(answer).read()
        envelope.rcpt_tos.append(address)
        return '250 fine'
    async def handle_DATA(self, server, session, envelope):
        mood = None
        try: mood = open(os.path.join(directory, 'mood')).read()
        except FileNotFoundError: pass
        if mood is not None:
            if mood == 'slow':
                await asyncio.sleep(100000)
            if mood == 'die':
                os._exit(1)
            return mood
        Keep.count += 1
        name = os.path.join(directory, '%08d' % Keep.count)
        head = 'FROM %s TO %s\\n' % (envelope.mail_from, ','.join(envelope.rcpt_tos))
        if session.ssl and tls == 'offered':
            head += 'ENCRYPTED\\n'
        elif tls == 'tokens':
            head += 'AS %s\\n' % session.auth_data
        elif session.ssl or tls == 'tls':
            head += 'AS %s\\n' % session.auth_data.login.decode()
        with open(name + '.new', 'wb') as f:
            f.write(head.encode() + envelope.content)
        os.rename(name + '.new', name + '.eml')
        return '250 kept'
class Tokens(Keep):
    async def auth_XOAUTH2(self, server, args):
        user, token = base64.b64decode(args[1]).split(b'\\x01')[:2]
        good = b'auth=Bearer ' + open(os.path.join(directory, 'token'), 'rb').read()
        if token == good:
            return AuthResult(success=True, auth_data=user.decode()[5:])
        await server.challenge_auth('{\"status\":\"401\"}')
        return AuthResult(success=False, handled=False)
class Login:
    def __call__(self, server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (b'watch', b's3cret')
        return AuthResult(success=good, handled=False, auth_data=data)
options = {}
if tls == 'tokens':
    options = {'auth_require_tls': False, 'auth_required': True, 'auth_exclude_mechanism': ['PLAIN', 'LOGIN']}
elif tls != 'none':
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem + '/server.pem', pem + '/server.key')
    options = {'offered': {'tls_context': context},
               'tls': {'ssl_context': context, 'auth_require_tls': False},
               'starttls': {'tls_context': context, 'require_starttls': True}}[tls]
    if tls != 'offered':
        options |= {'authenticator': Login(), 'auth_required': True}
Controller((Tokens if tls == 'tokens' else Keep)(), hostname='127.0.0.1', port=port, **options).start()
print('listening', flush=True)
time.sleep(100000)
";

/// The server; it ends with the test.
pub struct MailSink {
    /// Where it listens.
    pub port: u16,
    process: ServerProcess,
    /// How the connection is protected, and by whose certificate.
    tls: (&'static str, PathBuf),
}

impl Server for MailSink {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", SERVER]).arg(self.port.to_string()).arg(self.directory());
        command.arg(self.tls.0).arg(&self.tls.1);
        command
    }

    fn answers(&self, run: &Run) -> bool {
        run.stdout.text().contains("listening") && listens(self.port)
    }
}

impl Default for MailSink {
    fn default() -> Self {
        Self::start()
    }
}

impl MailSink {
    /// A server on a free port.
    pub fn start() -> MailSink {
        MailSink::protected("none", Path::new("/"))
    }

    /// A server that accepts mail of the user `watch` with the password `s3cret` only, after `starttls` or over `tls`, with a
    /// certificate of this directory; or of any client, where STARTTLS is only `offered`.
    pub fn protected(tls: &'static str, certificates: &Path) -> MailSink {
        let process = ServerProcess::new(tempfile::tempdir().expect("a temporary directory"));
        let tls = (tls, certificates.to_owned());
        let mut sink = MailSink { port: free_port(), process, tls };
        sink.start_again();
        sink
    }

    /// A server that accepts mail after a login with this token only.
    pub fn with_token(token: &str) -> MailSink {
        let sink = MailSink::protected("tokens", Path::new("/"));
        sink.accept_token(token);
        sink
    }

    /// Writes a file that controls the server, which never reads half of it.
    fn control(&self, name: &str, text: &str) {
        let (path, new) = (self.path(name), self.path("new"));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(new, path)).expect("it is ours");
    }

    /// Accepts only this token from now on.
    pub fn accept_token(&self, token: &str) {
        self.control("token", token);
    }

    /// Refuses a name without a domain in EHLO, with this text.
    pub fn refuse_short_names(&self, answer: &str) {
        self.control("hello", answer);
    }

    /// Answers every message with this text, or accepts them again.
    pub fn answer(&self, answer: Option<&str>) {
        match answer {
            Some(answer) => self.control("mood", answer),
            None => std::fs::remove_file(self.path("mood")).expect("the mood is ours"),
        }
    }

    /// Answers with this text when this receiver is named.
    pub fn answer_for(&self, receiver: &str, answer: &str) {
        self.control(&format!("for-{receiver}"), answer);
    }

    /// Accepts only this many mails in a connection.
    pub fn take_at_most(&self, mails: usize) {
        self.control("most", &mails.to_string());
    }

    /// The number of connections with a greeting.
    pub fn greetings(&self) -> usize {
        self.names().len()
    }

    /// The name in each greeting.
    pub fn names(&self) -> Vec<String> {
        let greetings = std::fs::read_to_string(self.path("greetings")).unwrap_or_default();
        greetings.lines().map(String::from).collect()
    }

    /// All messages so far, decoded.
    pub fn messages(&self) -> Vec<String> {
        self.files().iter().map(|path| decoded(&std::fs::read(path).expect("a message"))).collect()
    }

    /// The number of messages.
    pub fn count(&self) -> usize {
        self.files().len()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory()).expect("our own directory");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "eml"));
        paths.sort();
        paths
    }

    /// Waits for a message that contains each of these, and returns it.
    pub fn wait_for(&self, texts: &[&str]) -> String {
        let mut found = None;
        wait_until(&format!("a mail with {texts:?}"), || {
            let messages = self.messages();
            found = messages
                .into_iter()
                .find(|message| texts.iter().all(|text| message.contains(text)));
            found.is_some()
        });
        found.expect("it was found")
    }
}

/// Decodes quoted-printable, if the message has it.
fn decoded(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    if !text.contains("quoted-printable") {
        return text;
    }
    let text = text.replace("=\n", "");
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'=' => {
                let mut ahead = bytes.clone();
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => {
                        out.push((high * 16 + low) as u8);
                        bytes = ahead;
                    }
                    _ => out.push(byte),
                }
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
