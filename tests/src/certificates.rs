//! A private certificate authority, made by openssl.

use crate::rig::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes a directory with `ca.pem`, and with `server.pem` and `server.key` for 127.0.0.1. All users may read these. Others may
/// not read `ca.key`, nor `own.key`, which is a copy of `server.key`.
pub fn make_certificates(directory: &Path) {
    fs::create_dir(directory).expect("a directory of ours");
    let script = "exec 2>/dev/null; cd \"$0\"
        new='openssl req -newkey rsa:2048 -nodes -days 30'
        $new -x509 -keyout ca.key -out ca.pem -subj /CN=ours
        $new -keyout server.key -out server.csr -subj /CN=server
        printf 'subjectAltName=IP:127.0.0.1\\n' > names
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out server.pem
        chmod 644 ./*
        chmod 600 ca.key; umask 077; cp server.key own.key";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).arg(directory);
    run(command).ok();
}
