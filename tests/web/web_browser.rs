//! `aw-web` in a real browser: a login, a question, the timeline by keyboard, and a link of another site.
#![forbid(unsafe_code)]

use aw_tests::browser::Browser;
use aw_tests::history::History;
use aw_tests::rig::{program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, capture};
use aw_tests::web::Server;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

fn no_browser() -> bool {
    let none = Command::new("chromedriver").arg("--version").output().is_err();
    if none {
        aw_tests::rig::skip("there is no chromedriver here");
    }
    none
}

fn text(browser: &mut Browser) -> String {
    browser.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
}

/// Waits until the page has a text.
#[track_caller]
fn shows(browser: &mut Browser, wanted: &str) {
    wait_until(&format!("the page shows {wanted:?}"), || text(browser).contains(wanted));
}

#[test]
fn a_login_and_a_question() {
    if no_browser() {
        return;
    }
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:01 Kitchen radio\n02:00:00:00:00:02 Printer\n").unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let mut passwd = program("aw-web", &["passwd", "alice", "--state-dir"]);
    passwd.arg(server.state());
    run_with(passwd, b"correct horse\n").ok();

    let mut browser = Browser::open(1200, 900);
    browser.zone("UTC");
    let own = format!("http://127.0.0.1:{}", server.port);
    browser.go(&format!("{own}/ip/10.1.2.3?at=2026-11-20&zoom=day"));
    shows(&mut browser, "Log in");
    browser.type_into("#name", "alice");
    browser.type_into("#password", "wrong password\n");
    shows(&mut browser, "Name or password is wrong.");
    browser.type_into("#name", "alice");
    browser.type_into("#password", "correct horse\n");
    shows(&mut browser, "Kitchen radio 02:00:00:00:00:01");
    assert!(text(&mut browser).contains("alice (reader)"));

    // The question of a person, in the words of a person.
    browser.type_into("#q", "who had 10.1.2.3 at 2026-11-20 14:58?\n");
    shows(
        &mut browser,
        "One device was the last one seen before, another one was the first one seen after.",
    );
    assert!(text(&mut browser).contains("Printer 02:00:00:00:00:02"));
    // By keyboard: the first thing is a link to the answer, and a span of the timeline can be reached.
    browser.run("document.querySelector('.timeline a rect').parentNode.focus()");
    let focused = browser.run("return document.activeElement.querySelector('title').textContent");
    assert!(focused.as_str().is_some_and(|title| title.contains(" to 2026-11-20 ")), "{focused}");
    let to = browser
        .run("return document.activeElement.getAttribute('href')")
        .as_str()
        .unwrap()
        .to_owned();
    assert!(to.starts_with("/mac/") && to.contains("&zoom=hour"), "{to}");
    browser.go(&format!("{own}{to}"));
    shows(&mut browser, "2026-11-20");

    // A phone, dark, and paper: nothing is wider than the page, but the timeline, which scrolls.
    browser.resize(360, 740);
    for (media, scheme) in [("screen", "dark"), ("screen", "light"), ("print", "light")] {
        browser.media(media, scheme);
        for path in [
            "/",
            "/ip/10.1.2.3?at=2026-11-20&zoom=day",
            "/who?ip=10.1.2.3&at=2026-11-20+14:58",
            "/search?q=0000",
        ] {
            browser.go(&format!("{own}{path}"));
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().is_some_and(|wide| wide <= 360),
                "{path} {media} {scheme}: {wide}"
            );
        }
    }
    browser.media("screen", "light");

    // A link of another site (by name: localhost is another site than its address) leads to the page, without a login.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let page =
        format!("<a id=a href='{own}/mac/02:00:00:00:00:02?at=2026-11-20&zoom=day'>a link</a>");
    std::thread::spawn(move || {
        for stream in other.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), [0; 4096]);
            let _ = stream.read(&mut head);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    browser.go(&format!("http://localhost:{port}/"));
    browser.click("#a");
    shows(&mut browser, "10.1.2.3");
    assert!(text(&mut browser).contains("02:00:00:00:00:02"));

    browser.click(".user button");
    shows(&mut browser, "Log in");
    browser.go(&format!("{own}/"));
    shows(&mut browser, "Log in");
    let complaints = browser.complaints();
    let ours: Vec<_> = complaints
        .iter()
        .filter(|line| !line.contains("favicon") && !line.contains("403"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}
