//! What an archive has in clear from before `encrypt_to`: bases are masked at once, other files are reported once, and again
//! when the rules of what is a secret change. A router that is configured no more is one with `show_sensitive`, and so is one
//! whose last export was.

use std::io;

use aw_service::{explain, warn};

use super::Recorder;
use crate::{
    archive::Archive,
    config::{Config, RouterName},
    lossless::{bytes_of, lossless},
    mask::{RULES, mask},
};

/// Names of files and of routers in a report, at most.
const MAX_NAMES: usize = 10;

/// Whether the files in clear of this router must have no secrets.
pub fn is_masked(config: &Config, name: &RouterName) -> bool {
    !config.encrypt_to.is_empty() && shows_secrets(config, name)
}

/// Whether files in clear of this router may have secrets: it shows them, or did so until it was removed, or at its last export.
pub fn shows_secrets(config: &Config, name: &RouterName) -> bool {
    let router = config.routers.iter().find(|router| router.name == *name);
    let did_show = || Archive::of(&config.archive, name).state().is_ok_and(|it| it.shows_secrets);
    router.is_none_or(|router| router.show_sensitive) || did_show()
}

/// Whether these files were looked through by the present rules.
pub fn is_looked_through(archive: &Archive) -> bool {
    archive.state().is_ok_and(|state| state.clear_rules == RULES)
}

impl Recorder {
    /// Masks the last configuration of each router, before another process or git reads it.
    pub fn mask_bases(&self) {
        for name in self.names() {
            let (archive, is_masked) = (self.archive(&name), is_masked(&self.config, &name));
            self.journal.report(&name, "secrets.json", archive.remove_secret_tags());
            let is_looked_through = is_looked_through(&archive);
            if is_masked
                && !is_looked_through
                && let Err(error) = mask_base(&archive)
            {
                let text = format!("{name}: mask secrets in latest.rsc: {}", explain(&error));
                self.warn_of_all("secrets in clear", &text);
            } else if !is_masked && is_looked_through {
                self.journal.update_state(&name, |state| state.clear_rules = 0);
            }
        }
    }

    /// The routers that the archive has files of.
    fn names(&self) -> Vec<RouterName> {
        let path = &self.config.archive;
        Archive::names(path).unwrap_or_else(|error| {
            warn(format_args!("list {}: {}", path.display(), explain(&error)));
            Vec::new()
        })
    }

    /// Reports once which other files have secrets in clear. May need minutes: not for the thread of the event loop.
    pub fn report_clear_files(&self) {
        let (mut found, mut looked_through) = (Vec::new(), Vec::new());
        for name in self.names() {
            let archive = self.archive(&name);
            if !is_masked(&self.config, &name) || is_looked_through(&archive) {
                continue;
            }
            let has_secrets = |name: &String| archive.mask_file(name, false).unwrap_or(true);
            match archive.text_files() {
                Ok(files) => {
                    let files: Vec<_> = files.into_iter().filter(has_secrets).collect();
                    if !files.is_empty() {
                        found.push(format!("{name} ({})", some(&files)));
                    }
                    // One that could not be masked is tried again at the next start.
                    if !files.iter().any(|file| file == "latest.rsc") {
                        looked_through.push(name);
                    }
                }
                Err(error) => found.push(format!("{name} (unknown: {})", explain(&error))),
            }
        }
        self.report_found(&found);
        for name in looked_through {
            self.journal.update_state(&name, |state| state.clear_rules = RULES);
        }
    }

    fn report_found(&self, found: &[String]) {
        if found.is_empty() {
            return;
        }
        let git = match &self.config.git {
            Some(path) => format!(
                "; so has the history of {}, until you remove the repository",
                path.display()
            ),
            None => String::new(),
        };
        let text = format!(
            "files from before encrypt_to have secrets in clear{git} (stop aw-routeros; then aw-routeros forget-secrets puts *** in their place): in {}, those of {}",
            self.config.archive.display(),
            some(found)
        );
        self.warn_of_all("secrets in clear", &text);
    }
}

fn mask_base(archive: &Archive) -> io::Result<()> {
    let Some(clear) = archive.base()? else { return Ok(()) };
    let masked = bytes_of(&mask(&lossless(&clear)));
    if masked == clear { Ok(()) } else { archive.set_base(&masked) }
}

/// The first names of many.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
