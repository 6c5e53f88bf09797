//! `-d`: the process detaches from the terminal. The parent process waits until the child is ready, so
//! that an error before that point still reaches the terminal and the exit status.

use std::{
    fs::{self, File, OpenOptions},
    io::{PipeWriter, Read, Write, pipe},
    process::ExitCode,
};

use daemonize2::{Daemonize, Outcome, Stdio};
use rustix::{
    process::umask,
    stdio::{dup2_stderr, dup2_stdout},
};

use crate::{Error, failed};

/// The child process, until it is ready.
pub(crate) struct Detaching {
    parent: PipeWriter,
    /// Opened early: the sandbox may forbid it later.
    dev_null: File,
}

/// Which of the two processes this is.
pub(crate) enum Process {
    /// The parent; it exits with the status that the child reported.
    Parent(ExitCode),
    /// The child, in the background.
    Child(Detaching),
}

/// Forks the process.
pub(crate) fn detach() -> Result<Process, Error> {
    let failure = |error| Error::io("go into the background", error);
    let (mut from_child, parent) = pipe().map_err(failure)?;
    let threads = fs::read_dir("/proc/self/task").map_err(|error| {
        Error::io("go into the background: count threads in /proc (is it mounted?)", error)
    })?;
    let threads = threads.count();
    if threads != 1 {
        return Err(failed(format_args!("go into the background: {threads} threads are running")));
    }
    let dev_null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failure)?;
    let mask = umask(rustix::fs::Mode::empty());
    umask(mask);
    let daemon =
        Daemonize::new().umask(mask.as_raw_mode()).stdout(Stdio::keep()).stderr(Stdio::keep());
    // SAFETY: fork(2) in a process of several threads leaves locks locked for ever; /proc has just
    // shown that this process has a single thread, and only that thread could start another.
    #[allow(unsafe_code)]
    let outcome = unsafe { daemon.execute() };
    match outcome {
        Outcome::Parent(Ok(_)) => {
            drop(parent);
            let mut status = [1]; // if the child ends without a report
            let _ = from_child.read_exact(&mut status);
            Ok(Process::Parent(ExitCode::from(status[0])))
        }
        Outcome::Child(Ok(_)) => Ok(Process::Child(Detaching { parent, dev_null })),
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => {
            Err(Error::new("go into the background", error))
        }
    }
}

impl Detaching {
    /// Closes the terminal and leaves the working directory.
    pub fn leave_terminal(&self) -> rustix::io::Result<()> {
        rustix::process::chdir("/")?;
        dup2_stdout(&self.dev_null)?;
        dup2_stderr(&self.dev_null)
    }

    /// Makes the parent exit with this status; returns false if it has ended already.
    pub fn report(mut self, status: u8) -> bool {
        self.parent.write_all(&[status]).is_ok()
    }
}
