//! What an archive has in clear from before `encrypt_to`: the base is masked at once, other files are reported once.

use std::io;

use aw_service::explain;

use super::Recorder;
use crate::{config::Router, config_export::parse};

/// Names of files and of routers in a report, at most.
const MAX_NAMES: usize = 10;

impl Recorder {
    /// Masks the last configuration of each router once, before another process or git reads it.
    pub fn mask_bases(&self) {
        for router in &self.config.routers {
            let is_reported = self.archive(&router.name).state().is_ok_and(|it| it.clear_reported);
            match self.encrypts(router) {
                true if is_reported => {}
                true => {
                    if let Err(error) = self.mask_base(router) {
                        let cause = explain(&error);
                        let text = format!("mask secrets in latest.rsc: {cause}");
                        self.alarm(router, "secrets", &text);
                    }
                }
                false if is_reported => {
                    self.journal.update_state(&router.name, |state| state.clear_reported = false);
                }
                false => {}
            }
        }
    }

    fn mask_base(&self, router: &Router) -> io::Result<()> {
        let archive = self.archive(&router.name);
        let Some(clear) = archive.base()? else { return Ok(()) };
        let masked = self.comparable(router, clear.clone());
        if masked == clear {
            return Ok(());
        }
        if archive.secret_tags()?.is_none()
            && let (Ok(clear), Ok(masked)) = (parse(&clear), parse(&masked))
        {
            Recorder::set_first_secret_tags(&archive, &clear, &masked)?;
        }
        archive.set_base(&masked)
    }

    /// Reports once which other files have secrets in clear. May need minutes: not for the thread of the event loop.
    pub fn report_clear_files(&self) {
        let mut found = Vec::new();
        for router in self.config.routers.iter().filter(|router| self.encrypts(router)) {
            let archive = self.archive(&router.name);
            if archive.state().is_ok_and(|state| state.clear_reported) {
                continue;
            }
            let has_secrets = |name: &String| archive.mask_file(name, false).unwrap_or(true);
            let files: Vec<_> = archive.text_files().unwrap_or_default();
            let files: Vec<_> = files.into_iter().filter(has_secrets).collect();
            if !files.is_empty() {
                found.push(format!("{} ({})", router.name, some(&files)));
            }
            self.journal.update_state(&router.name, |state| state.clear_reported = true);
        }
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
            some(&found)
        );
        self.warn_of_all("secrets in clear", &text);
    }
}

/// The first names of many.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
