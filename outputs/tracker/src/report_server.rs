//! `--serve`: an HTTP server for the report and nothing else.

use std::{net::TcpListener, path::PathBuf};

use aw_output::{
    Error, info,
    serve::{self, AllowedHosts, Page},
};
use aw_service::{FileKind, open_file};

use crate::{activity_report::html::content_security_policy, report_thread::REPORT_FILE};

/// Starts to serve the file `page`.
pub fn start(listener: TcpListener, hosts: AllowedHosts, page: PathBuf) -> Result<(), Error> {
    let address = listener.local_addr().map_err(|error| Error::io("serve the report", error))?;
    info(format_args!("serving the report on http://{address}/"));
    let headers = format!(
        "Content-Security-Policy: {}; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n",
        content_security_policy()
    );
    serve::start(listener, hosts, headers, move |path| {
        if path != "/" && path.strip_prefix('/') != Some(REPORT_FILE) {
            return Err("404 Not Found");
        }
        let open = || {
            open_file(&page, FileKind::State).and_then(|file| Ok((file.metadata()?.len(), file)))
        };
        let (length, file) = open().map_err(|_| "503 Service Unavailable")?; // no report was created yet
        Ok(Page { kind: "text/html; charset=utf-8", body: Box::new(file), length })
    })
}
