//! `forget-secrets`: replaces secrets in the archive that are from before `encrypt_to`.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use aw_service::{Error, failed, info};
use rustix::process::geteuid;

use crate::{
    access::user_name,
    archive::Archive,
    config::{Config, Router},
    daemon,
    health::is_running,
    recorder::shows_secrets,
    terminal::print,
};

pub fn run(path: &Path) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let shows = |router: &&Router| router.show_sensitive;
    if config.encrypt_to.is_empty() && config.routers.iter().any(|router| shows(&router)) {
        return Err(failed(
            "forget secrets: the next export would have them again, because a router has show_sensitive, and encrypt_to is not set (set it, or remove show_sensitive)",
        ));
    }
    let archive = &config.archive;
    let read = |error| Error::io(archive.display(), error);
    let owner = fs::metadata(archive).map_err(read)?.uid();
    if owner != geteuid().as_raw() {
        let user = user_name(owner);
        let stop = match is_running(archive) {
            Ok(true) => "systemctl stop aw-routeros; ",
            _ => "",
        };
        return Err(failed(format_args!(
            "forget secrets: {} belongs to {user}, and so must its files: {stop}sudo -u {user} aw-routeros forget-secrets",
            archive.display()
        )));
    }
    let _lock = daemon::lock(archive, None)?;
    let mut count = 0;
    for router in Archive::names(archive).map_err(read)? {
        let files = Archive::of(archive, &router);
        // What a router exports without `show_sensitive`, such as scripts, it exports again: masked, that would be a change.
        let is_exported = !shows_secrets(&config, &router);
        for name in files.text_files().map_err(read)? {
            if is_exported && name == "latest.rsc" {
                continue;
            }
            let path = archive.join(router.as_str()).join(&name);
            if files.mask_file(&name, true).map_err(|error| Error::io(path.display(), error))? {
                print(&format!("{}\n", path.display()))?;
                count += 1;
            }
        }
    }
    info(format_args!("files whose secrets are *** now: {count}"));
    if let Some(git) = &config.git {
        info(format_args!(
            "{} has the old commits, which cannot be changed: remove it, and its copies; aw-routeros begins it again",
            git.display()
        ));
    }
    Ok(())
}
