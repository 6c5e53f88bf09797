use std::os::unix::fs::PermissionsExt;

use super::*;
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    thread,
};

/// Sends these bytes and the end of the stream; returns what was requested, if anything was, and the answer.
fn served(bytes: Vec<u8>) -> (Option<Requested>, String) {
    let directory = tempfile::tempdir().unwrap();
    let listener = listen(directory.path(), None).unwrap();
    let path = path(directory.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let client = thread::spawn(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let _ = stream.write_all(&bytes); // it may be refused before its end
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut line = String::new();
        let _ = BufReader::new(stream).take(1 << 20).read_line(&mut line);
        line
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let requested = runtime.block_on(async {
        let (send, mut requests) = mpsc::channel(1);
        let serving = tokio::spawn(serve(listener, send));
        while !client.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        serving.abort();
        requests.try_recv().ok().map(|(requested, _)| requested)
    });
    (requested, client.join().unwrap())
}

#[test]
fn requests_that_are_not_understood() {
    for (bytes, why) in [
        (&b"export core1\n"[..], "the request: "),
        (b"{\"export\":\"core1\",\"more\":1}\n", "unknown field"),
        (b"{\"export\":\"core1\"", "not a complete line"),
        (b"", "not a complete line"),
        (b"\xff\n", "not a complete line"),
        (&vec![b' '; 70 << 10], "not a complete line"),
    ] {
        let (requested, line) = served(bytes.to_vec());
        assert_eq!(requested, None, "{line}");
        // A client that sends more than a request is read no further, and may get no answer.
        assert!(line.contains(why) || line.is_empty() && bytes.len() > 1000, "{line:?}");
    }
    let (requested, line) = served(b"{}\n".to_vec());
    assert!(requested.is_none() && line.contains("names no router"), "{line}");
    // Of the last reload.
    let (requested, _) = served(b"{\"reload\":true}\n".to_vec());
    assert_eq!(requested, Some(Requested::Reload));
    let (requested, _) = served(b"{\"faults\":true}\n".to_vec());
    assert_eq!(requested, Some(Requested::Faults));
    // A client that ends does not keep its place.
    let (requested, line) = served(b"{\"export\":\"core1\"}\n".to_vec());
    assert_eq!(requested, Some(Requested::Export("core1".into())));
    assert!(line.contains("the client ended"), "{line}");
}

/// A socket that a killed daemon left is replaced; anything else of this name is not.
#[test]
fn what_is_there_already() {
    let directory = tempfile::tempdir().unwrap();
    drop(listen(directory.path(), None).unwrap());
    drop(listen(directory.path(), None).unwrap());
    fs::remove_file(path(directory.path())).unwrap();
    fs::write(path(directory.path()), "text").unwrap();
    let fault = listen(directory.path(), None).unwrap_err();
    assert!(fault.contains("it is not a socket (move it away: mv "), "{fault}");
}

/// The line of a request, without an end of the stream, which would be the end of the client.
#[test]
fn a_request_and_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let listener = listen(directory.path(), None).unwrap();
    let mut stream = UnixStream::connect(path(directory.path())).unwrap();
    stream.write_all(b"{\"export\":\"core1\"}\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let (send, mut requests) = mpsc::channel(1);
        tokio::spawn(serve(listener, send));
        let (name, to) = requests.recv().await.unwrap();
        assert_eq!(name, Requested::Export("core1".into()));
        to.send(ExportAnswer::failed("no route")).unwrap();
        let read = thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        while !read.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        read.join().unwrap()
    });
    let answer: ExportAnswer = serde_json::from_str(&reader).unwrap();
    assert_eq!(answer, ExportAnswer::failed("no route"));
}
