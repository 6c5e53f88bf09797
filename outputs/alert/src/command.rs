//! Runs programs: the transport of `command` and `sendmail`.

use std::{
    fmt::Display,
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_notify::Failure;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// Keys of macupd_tracker's alerter.
const KEYS: [&str; 8] = ["mac", "name", "ip", "iface", "date", "time", "last", "active-hours"];

/// Environment variables for a program: each field as `AW_` and its name in capitals, and the keys of macupd_tracker's
/// alerter under their own names. NUL, which no variable can contain, is removed.
pub fn environment(fields: &Value) -> Vec<(String, String)> {
    // Every key is always set: a script may run with `set -u`.
    let always = KEYS.iter().filter(|key| fields.get(**key).is_none());
    let mut variables: Vec<_> = always.map(|key| ((*key).to_owned(), String::new())).collect();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.replace('\0', ""),
            other => other.to_string(),
        };
        if KEYS.contains(&&**key) {
            variables.push((key.clone(), text.clone()));
        }
        variables.push((format!("AW_{}", key.to_uppercase().replace('-', "_")), text));
    }
    variables
}

/// From sysexits.h: the input is invalid.
const EX_DATAERR: i32 = 65;

/// Runs a program without a shell; kills it after `limit`.
pub fn run(
    command: &[String],
    environment: &[(String, String)],
    input: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else { return Err(Failure::Down("no program".into())) };
    let fault = |why: &dyn Display| Failure::Down(format!("run {program}: {why}"));
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null()) // ours carries the results to aw-alert
        .process_group(0) // so that its children are killed with it
        .spawn()
        .map_err(|error| fault(&aw_output::explain(&error)))?;
    let end = Instant::now() + limit;
    // A message fits into a pipe, so this does not wait. A program need not read its input.
    match child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())) {
        Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            kill(&mut child);
            return Err(fault(&error));
        }
        _ => {}
    }
    loop {
        match child.try_wait().map_err(|error| fault(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) if status.code() == Some(EX_DATAERR) => {
                return Err(Failure::Refused(format!("run {program}: {status}")));
            }
            Some(status) => return Err(fault(&status)),
            None if Instant::now() >= end => {
                kill(&mut child);
                return Err(fault(&format_args!(
                    "no end after {} s (time_limit)",
                    limit.as_secs()
                )));
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

    fn shell(script: &str, limit: Duration) -> Result<(), Failure> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let fields =
            serde_json::json!({"mac": "00:08:e1:00:00:01", "seconds": 7, "name": "a\0; b"});
        run(&command, &environment(&fields), "line\n", limit)
    }

    #[test]
    fn programs_are_run_and_killed() {
        let long = Duration::from_secs(20);
        let all =
            "read line; [ \"$line $mac $AW_SECONDS $name\" = 'line 00:08:e1:00:00:01 7 a; b' ]";
        assert_eq!(shell(all, long), Ok(()));
        let fails = |script: &str, limit| match shell(script, limit) {
            Err(Failure::Down(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(fails("exit 3", long), "run /bin/sh: exit status: 3");
        assert!(matches!(shell("exit 65", long), Err(Failure::Refused(_))));
        let began = Instant::now();
        let why = fails("sleep 60 & sleep 60", Duration::from_millis(50));
        assert!(why.contains("no end after") && began.elapsed() < long, "{why}");
        let why = run(&["/nowhere".into()], &[], "", long).unwrap_err();
        assert!(format!("{why:?}").contains("/nowhere"));
        // All variables are set, whatever the message has.
        let digest = environment(&serde_json::json!({"kind": "digest"}));
        let script = "set -u; : $mac $name $ip $iface $date $time $last".to_owned();
        assert_eq!(run(&["/bin/sh".into(), "-c".into(), script], &digest, "", long), Ok(()));
    }
}
