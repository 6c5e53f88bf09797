//! A web server that stores requests, or fails in a configured way: a Python program, in a process.

use crate::rig::{Run, wait_until};
use crate::server::{Server, ServerProcess, free_port};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each request becomes a file of JSON; a word in the file `mood` selects the answer.
const SERVER: &str = "\
import sys, os, time, json, ssl, itertools, http.server
port, directory, pem = int(sys.argv[1]), sys.argv[2], sys.argv[3]
class Keep(http.server.BaseHTTPRequestHandler):
    numbers = itertools.count(len(os.listdir(directory)) + 1)
    def log_message(self, *arguments): pass
    def do_POST(self):
        try: mood = open(os.path.join(directory, 'mood')).read()
        except FileNotFoundError: mood = '200'
        body = self.rfile.read(int(self.headers['Content-Length'])).decode()
        name = os.path.join(directory, '%08d' % next(Keep.numbers))
        with open(name + '.new', 'w') as f:
            json.dump({'path': self.path, 'mood': mood, 'body': body,
                       'headers': {k.lower(): v for k, v in self.headers.items()}}, f)
        os.rename(name + '.new', name + '.json')
        if mood == 'hang':
            time.sleep(100000)
        elif mood == 'close':
            self.wfile.write(b'HTTP/1.1 20')
        elif mood == 'endless':
            self.wfile.write(b'HTTP/1.1 500 x\\r\\n\\r\\n')
            while True: self.wfile.write(b'x' * 65536)
        elif mood.startswith('to '):
            self.send_response(307)
            self.send_header('Location', mood[3:])
            self.end_headers()
        else:
            status, _, text = mood.partition(' ')
            self.send_response(int(status))
            self.end_headers()
            self.wfile.write((text + self.headers.get('Authorization', '')).encode())
        self.close_connection = True
server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Keep)
server.daemon_threads = True
if pem:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem + '/server.pem', pem + '/server.key')
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print('listening', flush=True)
server.serve_forever()
";

/// The server; it ends with the test.
pub struct WebSink {
    /// Where it listens.
    pub port: u16,
    process: ServerProcess,
    certificates: Option<PathBuf>,
}

impl Server for WebSink {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", SERVER]).arg(self.port.to_string()).arg(self.directory());
        command.arg(self.certificates.as_deref().unwrap_or(Path::new("")));
        command
    }

    fn answers(&self, run: &Run) -> bool {
        run.stdout.text().contains("listening")
    }
}

impl WebSink {
    /// A server on a free port; with a certificate of this directory, for TLS.
    pub fn start(certificates: Option<&Path>) -> WebSink {
        let process = ServerProcess::new(tempfile::tempdir().expect("a temporary directory"));
        let certificates = certificates.map(Path::to_owned);
        let mut sink = WebSink { port: free_port(), process, certificates };
        sink.start_again();
        sink
    }

    /// Selects its answers: a status with a text, `hang`, `close` in the middle of an answer, `endless`, `to URL`.
    pub fn mood(&self, mood: &str) {
        let path = self.path("mood");
        std::fs::write(path.with_extension("new"), mood).expect("the mood is ours");
        std::fs::rename(path.with_extension("new"), path).expect("the mood is ours");
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Value> {
        let entries = std::fs::read_dir(self.directory()).expect("our own directory");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
        paths.sort();
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a request");
        paths.iter().map(|path| serde_json::from_str(&read(path)).expect("JSON")).collect()
    }

    /// The bodies of the accepted requests, when there are this many.
    pub fn wait_for(&self, count: usize) -> Vec<Value> {
        let taken = || -> Vec<Value> {
            let requests = self.requests().into_iter();
            let taken = requests.filter(|request| request["mood"] == "200");
            let body = |request: Value| request["body"].as_str().unwrap_or_default().to_owned();
            taken.map(|request| serde_json::from_str(&body(request)).expect("JSON")).collect()
        };
        wait_until(&format!("{count} messages"), || taken().len() >= count);
        taken()
    }
}
