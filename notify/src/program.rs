//! Runs a program of the configuration, without a shell, for a limited time: a command, sendmail, a program that prints a
//! token.

use std::{
    fmt::Display,
    io::{ErrorKind, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{cause, explain};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process_group},
};

use crate::Failure;

/// From sysexits.h: the input is invalid.
const EX_DATAERR: i32 = 65;
/// Bytes of a program's output that are read, at most; no pipe holds more.
const MAX_OUTPUT: u64 = 64 * 1024;

/// Runs a program with this input, and discards its output. Status 65 means that it refuses the input for good.
pub fn run_program(
    command: &[String],
    environment: &[(String, String)],
    input: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let mut child = start(command, environment, Stdio::null()).map_err(Failure::Down)?;
    let fault = |why: &dyn Display| Failure::Down(fault(command, why));
    // A message fits into a pipe, so this does not wait. A program need not read its input.
    match child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())) {
        Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            kill(&mut child);
            return Err(fault(&cause(&error)));
        }
        _ => {}
    }
    match wait(&mut child, limit).map_err(|why| fault(&why))? {
        status if status.success() => Ok(()),
        status if status.code() == Some(EX_DATAERR) => {
            Err(Failure::Refused(format!("run {}: {status}", name(command))))
        }
        status => Err(fault(&status)),
    }
}

/// Runs a program and returns what it printed.
pub(crate) fn output_of(command: &[String], limit: Duration) -> Result<String, String> {
    let mut child = start(command, &[], Stdio::piped())?;
    drop(child.stdin.take());
    // A program that prints more than its pipe holds waits until it is killed.
    let status = wait(&mut child, limit).map_err(|why| fault(command, &why))?;
    if !status.success() {
        return Err(fault(command, &status));
    }
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // Not until the end of the pipe: a program that it left in the background may hold it open.
        fcntl_setfl(&stdout, OFlags::NONBLOCK).map_err(|error| fault(command, &error))?;
        match stdout.take(MAX_OUTPUT).read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(fault(command, &cause(&error)));
            }
            _ => {}
        }
    }
    String::from_utf8(bytes).map_err(|_| fault(command, &"its output is not UTF-8 text"))
}

fn name(command: &[String]) -> &str {
    command.first().map_or("", |program| program)
}

fn fault(command: &[String], why: &dyn Display) -> String {
    format!("run {}: {why}", name(command))
}

fn start(
    command: &[String],
    environment: &[(String, String)],
    output: Stdio,
) -> Result<Child, String> {
    let [program, arguments @ ..] = command else {
        return Err("run a program: none is set".into());
    };
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(output) // ours may carry results
        .process_group(0) // so that its children are killed with it
        .spawn()
        .map_err(|error| fault(command, &explain(&error)))
}

/// Waits for the end of a program; kills it after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, String> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait().map_err(|error| cause(&error))? {
            Some(status) => return Ok(status),
            None if Instant::now() >= end => {
                kill(child);
                return Err(format!("no end after {} s (time_limit)", limit.as_secs()));
            }
            None => sleep(Duration::from_millis(10)),
        }
    }
}

fn kill(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> [String; 3] {
        ["/bin/sh", "-c", script].map(str::to_owned)
    }

    #[test]
    fn programs_are_run_and_killed() {
        let run = |script: &str, limit| run_program(&shell(script), &[], "line\n", limit);
        let fails = |script: &str, limit| match run(script, limit) {
            Err(Failure::Down(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(fails("exit 3", LONG), "run /bin/sh: exit status: 3");
        assert!(matches!(run("exit 65", LONG), Err(Failure::Refused(_))));
        let began = Instant::now();
        let why = fails("sleep 60 & sleep 60", Duration::from_millis(50));
        assert!(why.contains("no end after") && began.elapsed() < LONG, "{why}");
        let why = run_program(&["/nowhere".into()], &[], "", LONG).unwrap_err();
        assert!(format!("{why:?}").contains("/nowhere"));
    }

    #[test]
    fn output_is_read_and_bounded() {
        let output = |script: &str, limit| output_of(&shell(script), limit);
        assert_eq!(output("echo token; sleep 60 &", LONG).unwrap(), "token\n");
        assert_eq!(output("echo x; exit 1", LONG).unwrap_err(), "run /bin/sh: exit status: 1");
        let endless = output("exec cat /dev/zero", Duration::from_millis(50));
        assert!(endless.unwrap_err().contains("no end after"));
        assert!(output("printf '\\377'", LONG).unwrap_err().contains("not UTF-8"));
    }
}
