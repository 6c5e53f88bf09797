//! What aw-mysql and aw-query read of my.cnf and of URLs.

use crate::ServerConfig;
use crate::config::parse_option_file;

/// Any text as my.cnf: it is accepted, or refused in one line. Each line of it is a URL, too.
pub fn my_cnf(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match parse_option_file(&text) {
        Ok(config) => assert!(!config.server().is_empty()),
        Err(why) => assert!(!why.contains('\n'), "{why}"),
    }
    for line in text.lines() {
        let _ = ServerConfig::default().set_url(line);
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("my_cnf", my_cnf);
}
