//! The limit of open files, of programs with a connection to each of many machines.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard limit, and returns the limit in effect. Call it before
/// [`Startup::confine`](crate::Startup::confine), and after processes were started that run other programs: those that call
/// `select` fail with descriptors from 1024 on, which is why the soft limit is low.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Any process may; where a sandbox forbids it, the old limit stays in effect.
    let effective = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    effective.unwrap_or(u64::MAX)
}
