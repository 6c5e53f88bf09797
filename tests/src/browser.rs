//! A real browser: headless Chromium, driven by its chromedriver in the W3C's WebDriver protocol, which is JSON over HTTP.

use crate::rig::Run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Keys for [`Browser::press`].
pub const TAB: &str = "\u{e004}";
/// The same.
pub const ENTER: &str = "\u{e007}";

/// A window of a browser, closed when dropped.
pub struct Browser {
    driver: Run,
    port: u16,
    session: String,
    /// The process of the browser, which its driver leaves behind when it is killed.
    process: Option<Pid>,
}

impl Browser {
    /// Opens a window of this size.
    pub fn open(width: u32, height: u32) -> Browser {
        let mut command = Command::new("chromedriver");
        command.args(["--port=0"]);
        let driver = Run::start(command);
        let line = driver.stdout.wait_for("started successfully on port");
        let port = line.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
        let (port, session, process) = (port.expect("a port"), String::new(), None);
        let mut browser = Browser { driver, port, session, process };
        // No sandbox: root's browser has none. No shared memory: /dev/shm may be small, and has the rings of tests.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let options = json!({ "args": arguments });
        // As patient as the rig: the time of a script is no property of the page.
        let limits = json!({ "script": 180_000, "pageLoad": 300_000 });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "timeouts": limits,
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } } } });
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        let process = session["capabilities"]["goog:processID"].as_i64().expect("a process");
        browser.process = Pid::from_raw(process as i32);
        browser.resize(width, height);
        browser
    }

    /// Makes the page's view exactly this large, as a phone's is: a window may have a least width.
    pub fn resize(&mut self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// Light or dark; on the screen or on paper.
    pub fn media(&mut self, media: &str, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "media": media, "features": features }),
        );
    }

    /// Gives the pages this time zone, whatever that of the machine is.
    pub fn zone(&mut self, name: &str) {
        self.devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": name }));
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&mut self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Opens an address, and waits until it is loaded.
    pub fn go(&mut self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// Opens a file.
    pub fn go_to_file(&mut self, path: &Path) {
        self.go(&format!("file://{}", path.display()));
    }

    /// The result of this body of a function.
    pub fn run(&mut self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same; none while the page is replaced by another one.
    pub fn try_run(&mut self, script: &str) -> Option<Value> {
        let path = format!("/session/{}/execute/sync", self.session);
        let value = self.answer("POST", &path, &json!({ "script": script, "args": [] }));
        Some(value).filter(|value| value["error"].is_null())
    }

    /// Types into what this selector finds.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Clicks on what this selector finds.
    pub fn click(&mut self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Presses these keys, one after the other, where the focus is; see [`TAB`] and [`ENTER`].
    pub fn press(&mut self, keys: &str) {
        let key = |key: char| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        };
        let all: Vec<Value> = keys.chars().flat_map(key).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": all });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    /// Touches what this selector finds, with one finger.
    pub fn tap(&mut self, selector: &str) {
        let place = self.run(&format!(
            "const one = document.querySelector({}); one.scrollIntoView({{ block: 'center' }}); const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]",
            json!(selector)
        ));
        self.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": true }));
        let point = json!([{ "x": place[0], "y": place[1] }]);
        for (kind, points) in [("touchStart", point), ("touchEnd", json!([]))] {
            let touch = json!({ "type": kind, "touchPoints": points });
            self.devtools("Input.dispatchTouchEvent", touch);
        }
    }

    fn find(&mut self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", &wanted);
        let element = found.as_object().and_then(|found| found.values().next()?.as_str());
        element.unwrap_or_else(|| panic!("no {selector}: {found}")).to_owned()
    }

    /// Errors of the browser: refused scripts, missing files.
    pub fn complaints(&mut self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().expect("a log").iter();
        lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The page as a picture, in PNG, base64.
    pub fn picture(&mut self) -> String {
        let path = format!("/session/{}/screenshot", self.session);
        self.ask("GET", &path, &Value::Null).as_str().expect("a picture").to_owned()
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.ask("POST", &path, body)
    }

    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let value = self.answer(method, path, body);
        assert!(value["error"].is_null(), "{method} {path} {body:.300}: {value:.2000}");
        value
    }

    /// One request on a connection of its own; the answer's value, which may be an error.
    fn answer(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver runs");
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).expect("a line of the head");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut bytes = vec![0; length];
        answer.read_exact(&mut bytes).expect("the whole answer");
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let path = format!("/session/{}", self.session);
            self.ask("DELETE", &path, &Value::Null);
        } else if let Some(process) = self.process {
            let _ = kill_process(process, Signal::KILL);
        }
        self.driver.signal(Signal::TERM);
    }
}
