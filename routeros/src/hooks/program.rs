//! Runs one program for a limited time, without a shell.

use std::{
    env, fs,
    io::{ErrorKind, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{cause, explain, plain};
use rustix::{
    fs::{Access, AtFlags, CWD, OFlags, accessat, fcntl_setfl},
    process::{Pid, Signal, kill_process_group},
};

/// The pause between two looks at a program.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of the end of its error messages that are kept.
const MAX_MESSAGE: usize = 2000;

/// Why this user cannot start a program: a name in PATH, or an absolute path.
pub fn unusable(program: &str) -> Option<String> {
    let fault = |path: &Path| {
        match fs::metadata(path) {
            Err(error) => return Some(explain(&error)),
            Ok(found) if found.is_dir() => return Some("it is a directory".into()),
            Ok(_) => {}
        }
        accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
            .err()
            .map(|error| explain(&error.into()))
    };
    if program.starts_with('/') {
        return fault(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|directory| fault(&directory.join(program)).is_none());
    (!found).then(|| "no such file in PATH".into())
}

/// Runs a program with this input. Its output is discarded. If it fails, the end of its error messages is returned; after
/// `limit` it is killed, with the processes that it started.
pub fn run_hook<'a>(
    command: &[String],
    variables: impl Iterator<Item = &'a (String, String)>,
    input: &str,
    limit: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no program is set".into()) };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0) // so that its children are killed with it
        .spawn()
        .map_err(|error| explain(&error))?;
    let ended = talk(&mut child, input.as_bytes(), limit);
    if ended.is_err() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    ended
}

/// Writes the input, reads messages, and waits for the end; never for one of them only.
fn talk(child: &mut Child, mut input: &[u8], limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let (mut stdin, mut stderr) = (child.stdin.take(), child.stderr.take());
    let nonblocking = |why: rustix::io::Errno| format!("pipe: {why}");
    stdin
        .as_ref()
        .map_or(Ok(()), |pipe| fcntl_setfl(pipe, OFlags::NONBLOCK))
        .map_err(nonblocking)?;
    stderr
        .as_ref()
        .map_or(Ok(()), |pipe| fcntl_setfl(pipe, OFlags::NONBLOCK))
        .map_err(nonblocking)?;
    let mut message = Vec::new();
    loop {
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(written) => input = &input[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => input = &[], // it need not read its input
            }
            if input.is_empty() {
                stdin = None;
            }
        }
        // Before the last look at its messages: they are complete then.
        let status = child.try_wait().map_err(|error| cause(&error))?;
        if let Some(pipe) = &mut stderr {
            let mut bytes = [0; 4096];
            // A bounded number of times: a process that it left behind may write for ever.
            for _ in 0..32 {
                match pipe.read(&mut bytes) {
                    Ok(read) if read > 0 => message.extend_from_slice(&bytes[..read]),
                    _ => break,
                }
                message.drain(..message.len().saturating_sub(MAX_MESSAGE));
            }
        }
        match status {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(with_message(&status.to_string(), &message)),
            None if Instant::now() >= end => {
                let why = format!("no end after {} s (hook_timeout)", limit.as_secs());
                return Err(with_message(&why, &message));
            }
            None => sleep(LOOK),
        }
    }
}

/// A cause with the last line of the error messages.
fn with_message(why: &str, message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{why}: {}", plain(line.trim())),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run(script: &str, input: &str, limit: Duration) -> Result<(), String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let variables = [("USERS".to_owned(), "eve; $(false)".to_owned())];
        run_hook(&command, variables.iter(), input, limit)
    }

    #[test]
    fn input_variables_and_failures() {
        let long = "x".repeat(1 << 20);
        let script =
            format!("[ \"$(wc -c)\" -eq {} ] && [ \"$USERS\" = 'eve; $(false)' ]", long.len());
        assert_eq!(run(&script, &long, LONG), Ok(()));
        assert_eq!(run("exit 0", &long, LONG), Ok(()), "it need not read its input");
        assert_eq!(run("sleep 60 & exit 0", "", LONG), Ok(()), "a process in the background");
        let failure = run("echo first >&2; printf 'no \\033[1mway\\n\\n' >&2; exit 3", "", LONG);
        let failure = failure.unwrap_err();
        assert!(
            failure.starts_with("exit status: 3: no ") && !failure.contains('\x1b'),
            "{failure}"
        );
        let endless = "while :; do echo 0123456789012345678901234567890123456789; done >&2";
        let failure = run(endless, "", Duration::from_millis(300)).unwrap_err();
        assert!(failure.contains("no end after"), "{failure}");
        let missing = run_hook(&["/nowhere".into()], [].iter(), "", LONG).unwrap_err();
        assert!(missing.contains("o such file"), "{missing}");
    }

    /// After its time the program and its children are killed.
    #[test]
    fn children_are_killed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
        assert!(run(&script, "", Duration::from_secs(5)).is_err());
        let id = std::fs::read_to_string(&path).unwrap();
        let began = Instant::now();
        // Its state is `Z` until its new parent has waited for it.
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            assert!(began.elapsed() < LONG, "{id}");
            sleep(LOOK);
        }
    }
}
