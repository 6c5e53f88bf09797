//! A certificate authority of the test's own, made by openssl, and a certificate of it for this machine.

use crate::rig::run;
use std::{path::PathBuf, process::Command};
use tempfile::TempDir;

/// Its files vanish with it.
pub struct Authority(TempDir);

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("/bin/sh");
        command.current_dir(directory.path()).args([
            "-ec",
            "key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30'
             echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' >names
             openssl req -x509 $key -subj /CN=test-authority -keyout ca.key -out ca.pem
             openssl req $key -subj /CN=localhost -keyout server.key -out server.csr
             openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \\
                 -extfile names -out server.crt
             cat server.crt server.key >server.pem",
        ]);
        run(command).ok();
        Authority(directory)
    }

    /// Who signs.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// The server's certificate and its key, in one file.
    pub fn server(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }
}
