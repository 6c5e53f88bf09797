//! Servers that attack the programs that talk to them: endless answers, a byte at a time, what makes a library panic, and
//! requests for the password. No program hangs, ends or fills the memory: events are queued, and the fault is logged.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use aw_tests::alerting::Alert;
use aw_tests::feed::publish;
use aw_tests::hostile::{
    greet_mysql, other_address, receive_packet, send_packet, serve_mysql, server, server_at,
    trickle, with_memory,
};
use aw_tests::rig::{Run, program, run, skip};
use aw_tests::ring::Ring;
use aw_tests::watching::peak_memory;
use tempfile::TempDir;

/// More than any of these programs needs.
const MEMORY: u64 = 100 << 20;

/// `aw-mysql` with this server and password.
fn mysql(ring: &Ring, directory: &TempDir, ip: IpAddr, port: u16, more: &str) -> Command {
    let config = directory.path().join("mysql.cnf");
    let text =
        format!("[addrwatch]\nprotocol=tcp\nhost={ip}\nport={port}\npassword=s3cret\n{more}");
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    let mut command = program("aw-mysql", &["--ring", ring.name(), "--config"]);
    command.arg(config).arg("--state-dir").arg(directory.path().join("state"));
    command
}

/// Without a change of the user, who may not read the files of the test.
fn start(mut command: Command) -> Run {
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "0"]);
    }
    Run::start(command)
}

/// The program queues events for this reason; it runs, needs little memory, and ends at a signal.
fn queues(command: Command, why: &str) {
    let running = start(command);
    let line = running.stderr.wait_for("queueing events in");
    assert!(line.contains(why), "{line}");
    assert!(peak_memory(&running) < MEMORY, "{}", peak_memory(&running));
    let ended = running.stop().ok();
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

fn mysql_queues(serve: fn(TcpStream) -> io::Result<()>, why: &str) {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..11);
    let port = server(serve);
    queues(mysql(&ring, &directory, [127, 0, 0, 1].into(), port, ""), why);
}

/// The login is accepted, and the answer to the first statement has columns without end.
#[test]
fn columns_of_mysql_without_end() {
    let serve = |mut client: TcpStream| {
        greet_mysql(&mut client)?;
        send_packet(&mut client, 2, &[0, 0, 0, 2, 0, 0, 0])?;
        receive_packet(&mut client)?;
        send_packet(&mut client, 1, &[0xfc, 0, 0x10])?; // 4096, the most that there can be
        let head = b"\x03def\0\0\0\xfd\xff\xff\0"; // a name of 64 KiB
        let end = b"\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0";
        let column = [&head[..], &[b'x'; 0xffff], end].concat();
        (2..=u8::MAX)
            .chain((0..=u8::MAX).cycle())
            .try_for_each(|number| send_packet(&mut client, number, &column))
    };
    mysql_queues(serve, "the peer sends more than");
    let serve = |mut client: TcpStream| {
        greet_mysql(&mut client)?;
        send_packet(&mut client, 2, &[0, 0, 0, 2, 0, 0, 0])?;
        receive_packet(&mut client)?;
        send_packet(&mut client, 1, b"\xfe\0\0\0\0\0\0\0\x10")?; // 2^60
        let column = b"\x03def\0\0\0\0\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0";
        (2..=u8::MAX)
            .chain((0..=u8::MAX).cycle())
            .try_for_each(|number| send_packet(&mut client, number, column))
    };
    mysql_queues(serve, "not of the protocol of MySQL");
}

/// Each byte comes before the limit of an answer: only the limit of all answers together ends the wait.
#[test]
fn a_greeting_of_mysql_without_end() {
    let serve = |mut client: TcpStream| {
        client.write_all(&[0xff, 0xff, 0, 0])?; // 64 KiB
        trickle(client, b'x')
    };
    mysql_queues(serve, "the server does not answer");
}

/// The answer to this statement is a byte now and then.
fn slow_answer(statement: &'static str) {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..11);
    let port = server(move |client| {
        serve_mysql(client, move |client, sql| match sql.contains(statement) {
            true => trickle(client.try_clone()?, 1).map(|()| true),
            false => Ok(false),
        })
    });
    let command = mysql(&ring, &directory, [127, 0, 0, 1].into(), port, "");
    queues(command, "the server does not answer");
}

#[test]
fn a_byte_now_and_then_within_a_transaction_of_mysql() {
    thread::scope(|scope| {
        for statement in ["START TRANSACTION", "FOR UPDATE", "INSERT INTO", "COMMIT"] {
            scope.spawn(move || slow_answer(statement));
        }
    });
}

/// The rows of a result are followed by an error, or by none of what may follow: nothing of it counts.
#[test]
fn an_error_within_a_result_of_mysql() {
    const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0";
    const END: &[u8] = &[0xfe, 0, 0, 2, 0];
    for (last, why) in [
        (&b"\xff\x7a\x04#42S02Table gone\x1b[2J"[..], "Table gone[2J"),
        (&[0xfe; 300], "not of the protocol"),
        (&[], "not of the protocol"),
    ] {
        let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
        publish(&ring, 1..11);
        let port = server(move |client| {
            serve_mysql(client, move |client, sql| {
                if !sql.contains("FOR UPDATE") {
                    return Ok(false);
                }
                let columns = [COLUMN; 5];
                let row = b"\x015\x010\x0210\x010\x010"; // all ten events are stored
                let packets = [&[&[5][..]], &columns[..], &[END, row, last]].concat();
                let mut numbers = 1..;
                packets
                    .iter()
                    .zip(&mut numbers)
                    .try_for_each(|(packet, number)| send_packet(client, number, packet))?;
                Ok(true)
            })
        });
        queues(mysql(&ring, &directory, [127, 0, 0, 1].into(), port, ""), why);
        let queued = start({
            let mut command = mysql(&ring, &directory, [127, 0, 0, 1].into(), port, "");
            command.arg("--once");
            command
        });
        let ended = queued.finish();
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert!(ended.stderr.contains("10 events are queued"), "{ended:#?}");
    }
}

/// The server wants another login, and there is no password: the client sends what MySQL's own do.
#[test]
fn a_login_of_mysql_without_a_password_after_a_switch() {
    for (plugin, expected) in [("caching_sha2_password", &[0][..]), ("mysql_native_password", &[])]
    {
        let (asked, answers) = channel();
        let port = server(move |mut client: TcpStream| {
            greet_mysql(&mut client)?;
            let switch = [&[0xfe], plugin.as_bytes(), b"\0challenge of 20 byte\0"].concat();
            send_packet(&mut client, 2, &switch)?;
            let _ = asked.send(receive_packet(&mut client)?);
            Ok(())
        });
        let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
        let config = directory.path().join("mysql.cnf");
        let mut command = mysql(&ring, &directory, [127, 0, 0, 1].into(), port, "");
        let text = fs::read_to_string(&config).unwrap().replace("password=s3cret\n", "");
        fs::write(&config, text).unwrap();
        command.arg("-v");
        let running = start(command);
        assert_eq!(answers.recv().unwrap(), expected, "{plugin}");
        running.stop();
    }
}

/// The server asks for the password, and its key is none: a library panics.
#[test]
fn a_bad_key_of_mysql() {
    let serve = |mut client: TcpStream| {
        greet_mysql(&mut client)?;
        send_packet(&mut client, 2, &[1, 4])?;
        receive_packet(&mut client)?;
        let key = b"\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        send_packet(&mut client, 4, key)?;
        receive_packet(&mut client).map(drop)
    };
    mysql_queues(serve, "the server's key is not");
}

/// A server on another machine that asks for the password gets it encrypted for its key only if the configuration says so.
#[test]
fn a_mysql_that_asks_for_the_password() {
    let Some(ip) = other_address() else {
        return skip("this machine has no address but 127.0.0.1");
    };
    let (asked, answers) = channel();
    let port = server_at(ip, move |mut client: TcpStream| {
        greet_mysql(&mut client)?;
        send_packet(&mut client, 2, &[1, 4])?;
        let answer = receive_packet(&mut client).unwrap_or_default();
        let _ = asked.send(answer);
        Ok(())
    });
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..11);
    let why = "the server asks for the password itself, which is sent only through TLS that checks the server's certificate (set ssl-ca";
    queues(mysql(&ring, &directory, ip, port, ""), why);
    const QUIT: [u8; 1] = [1];
    let answer = answers.recv().unwrap();
    assert!(answer.is_empty() || answer == QUIT, "{answer:?}");
    while let Ok(answer) = answers.try_recv() {
        assert!(answer.is_empty() || answer == QUIT, "{answer:?}");
    }
    let allowed = start(mysql(&ring, &directory, ip, port, "plain-password = 1"));
    let asks_for_the_key = |answer: Vec<u8>| answer == [2];
    while !asks_for_the_key(answers.recv().unwrap()) {}
    allowed.stop();
}

/// A time limit in seconds that is not reached.
const LONG: u32 = 120;

/// A message over this channel fails for this reason, within little memory.
fn message_fails(channel: &str, limit: u32, why: &str) {
    let alert = Alert::new();
    let config =
        alert.config(&format!("[[channel]]\nname = \"one\"\ntime_limit = {limit}\n{channel}\n"));
    let ended = run(with_memory(&alert.command(&["-c", &config, "test", "one"]), 600_000));
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

fn mail_fails(serve: fn(TcpStream) -> io::Result<()>, limit: u32, why: &str) {
    let port = server(serve);
    message_fails(
        &format!(
            "smtp = {{ server = \"127.0.0.1:{port}\", from = \"a@example.org\", to = [\"b@example.org\"] }}"
        ),
        limit,
        why,
    );
}

/// A head that never ends: each byte in time, or all at once.
#[test]
fn an_answer_of_http_without_end() {
    let webhook = |serve: fn(TcpStream) -> io::Result<()>| {
        format!("webhook = {{ url = \"http://127.0.0.1:{}/\" }}", server(serve))
    };
    let slow = |mut client: TcpStream| {
        client.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        trickle(client, b'x')
    };
    message_fails(&webhook(slow), 1, "no response after 1 s");
    let endless = |mut client: TcpStream| {
        client.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        loop {
            client.write_all(&[b'x'; 0xffff])?;
        }
    };
    message_fails(&webhook(endless), LONG, "POST http://127.0.0.1:");
}

#[test]
fn a_line_of_smtp_without_end() {
    let serve = |mut client: TcpStream| {
        loop {
            client.write_all(&[b'2'; 0xffff])?;
        }
    };
    mail_fails(serve, LONG, "a line of its response has no end");
    let serve = |mut client: TcpStream| {
        loop {
            client.write_all(b"220-hello\r\n")?;
        }
    };
    mail_fails(serve, LONG, "its response is too long");
}

#[test]
fn a_greeting_of_smtp_without_end() {
    mail_fails(|client| trickle(client, b'2'), 1, "no complete answer in time");
}

/// A line of blanks in the answer to EHLO makes a library panic.
#[test]
fn an_answer_of_smtp_that_is_not_expected() {
    let serve = |mut client: TcpStream| {
        client.write_all(b"220 hello\r\n")?;
        let mut lines = BufReader::new(client.try_clone()?).lines();
        lines.next().transpose()?;
        client.write_all(b"250-mail.example.org\r\n250-  \r\n250 8BITMIME\r\n")?;
        lines.try_for_each(|line| line.map(drop))
    };
    mail_fails(serve, LONG, "a library failed on what the peer sent");
}

/// A broker that accepts the client, and then acknowledges a message each second.
#[test]
fn acknowledgements_of_mqtt_one_by_one() {
    let serve = |mut client: TcpStream| {
        read_mqtt(&mut client)?;
        client.write_all(&[0x20, 3, 0, 0, 0])?;
        loop {
            let (kind, packet) = read_mqtt(&mut client)?;
            if kind >> 4 == 3 {
                let topic = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
                let identifier = &packet[topic + 2..topic + 4];
                thread::sleep(Duration::from_secs(1));
                client.write_all(&[&[0x40, 2][..], identifier].concat())?;
            }
        }
    };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..101);
    let broker = format!("mqtt://127.0.0.1:{}", server(serve));
    let mut command = program("aw-mqtt", &["--ring", ring.name(), "--broker", &broker]);
    command.arg("--state-dir").arg(directory.path());
    queues(command, "no response");
}

/// A packet of MQTT: its first byte, and what follows its length.
fn read_mqtt(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    client.read_exact(&mut byte)?;
    let (kind, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        client.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut packet = vec![0; length];
    client.read_exact(&mut packet)?;
    Ok((kind, packet))
}

/// A syslog daemon that does not read, but sends without end.
#[test]
fn data_of_syslog_without_end() {
    let serve = |mut client: TcpStream| {
        loop {
            client.write_all(&[0; 0xffff])?;
        }
    };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..11);
    let to = format!("tcp://127.0.0.1:{}", server(serve));
    let mut command = program("aw-syslog", &["--ring", ring.name(), "--to", &to]);
    command.arg("--state-dir").arg(directory.path());
    let running = start(command);
    // The first check may be faster than the daemon: the events after it find what it has sent.
    running.wait_until("queueing", || {
        publish(&ring, 11..21);
        running.stderr.text().contains("it sends data without end")
    });
    running.stop();
}
