//! `-d`: into the background. The process that was started waits until the one in the background is
//! ready, so that whatever goes wrong before still reaches the terminal and the exit status.

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

/// The process in the background, until it is ready.
pub(crate) struct Waiting {
    started: PipeWriter,
    /// Opened early: later it may not be.
    nothing: File,
}

/// Which of the two processes this is.
pub(crate) enum Side {
    /// The one that was started, and ends with what the other says.
    Started(ExitCode),
    /// The one in the background.
    Background(Waiting),
}

/// Splits the process in two.
pub(crate) fn detach() -> Result<Side, Error> {
    let failure = |error| Error::io("go into the background", error);
    let (mut told, tell) = pipe().map_err(failure)?;
    let threads = fs::read_dir("/proc/self/task").map_err(|error| {
        Error::io("go into the background: count threads in /proc (is it mounted?)", error)
    })?;
    let threads = threads.count();
    if threads != 1 {
        return Err(failed(format_args!("go into the background: {threads} threads run already")));
    }
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failure)?;
    let mask = umask(rustix::fs::Mode::empty());
    umask(mask);
    let daemon =
        Daemonize::new().umask(mask.as_raw_mode()).stdout(Stdio::keep()).stderr(Stdio::keep());
    // SAFETY: fork(2) in a process of several threads leaves locks locked for ever; this one has a
    // single thread, as the kernel has just said, and only it could make another.
    #[allow(unsafe_code)]
    let outcome = unsafe { daemon.execute() };
    match outcome {
        Outcome::Parent(Ok(_)) => {
            drop(tell);
            let mut status = [1]; // it ended without a word
            let _ = told.read_exact(&mut status);
            Ok(Side::Started(ExitCode::from(status[0])))
        }
        Outcome::Child(Ok(_)) => Ok(Side::Background(Waiting { started: tell, nothing })),
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => {
            Err(Error::new("go into the background", error))
        }
    }
}

impl Waiting {
    /// Lets go of the terminal, and of the directory that it was started in.
    pub fn leave(&self) -> rustix::io::Result<()> {
        rustix::process::chdir("/")?;
        dup2_stdout(&self.nothing)?;
        dup2_stderr(&self.nothing)
    }

    /// Lets the process that was started end with this status; tells whether it was still there.
    pub fn tell(mut self, status: u8) -> bool {
        self.started.write_all(&[status]).is_ok()
    }
}
