//! Mail about changes and faults. Faults are mailed at once. Of reports about changes, the first one of a burst is mailed
//! at once; those that follow wait in a file of the spool, and are mailed together: see `digest.rs`. So they survive a kill.

use std::{
    fs, io,
    io::Write,
    mem::take,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant, UNIX_EPOCH},
};

use aw_notify::{MailFaults, Mailer};
use aw_service::{Condition, FileKind, cause, info, open_append, read_file_text, warn};
use serde::{Deserialize, Serialize};

use super::{
    digest::{Digests, Step},
    lock,
    report::MAX_CLAIMS,
};
use crate::config::RouterName;

/// How long the end of the program waits for mail that can be sent.
const FINISH: Duration = Duration::from_secs(3);
/// Lines of the texts in a mail about several reports, in multiples of the limit of one.
const DIGEST_LINES: usize = 2;
/// Bytes of a file of reports that are read, at most.
const MAX_GATHERED: u64 = 64 << 20;
/// The end of the names of such files in the spool.
const GATHERED: &str = ".gathered";

/// A report about what users did on a router. Secrets are masked already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub router: RouterName,
    /// Who is credited, in a few words.
    pub who: String,
    /// The user, if it is one beyond doubt: reports about the same one in a row are one mail.
    #[serde(default)]
    pub only_user: Option<String>,
    /// The time, as it is printed.
    pub when: String,
    /// One line, the subject of the mail.
    pub summary: String,
    /// The text of the mail.
    pub text: String,
    /// The command that shows all of it, if there is one.
    #[serde(default)]
    pub command: Option<String>,
    /// The receivers of the router, if it has its own.
    #[serde(default)]
    pub to: Option<Vec<String>>,
}

/// Queues mail; does nothing without a mailer.
pub struct ChangeMail {
    mailer: Option<Mailer>,
    /// The directory for reports that wait.
    spool: PathBuf,
    /// Lines of the text of one report, at most.
    lines: usize,
    /// The bursts, and the files that could not be mailed.
    digests: Mutex<(Digests, Vec<PathBuf>)>,
    /// Before the names of the files of this process.
    started: u64,
    /// Whether the queue cannot be written, and the number of mails lost since then.
    unwritable: Mutex<(Condition, u64)>,
}

impl ChangeMail {
    /// Reports that wait are kept in `spool` and mailed `window` after the first one, or later: see `digest.rs`.
    pub fn new(mailer: Option<Mailer>, spool: &Path, window: Duration, lines: usize) -> ChangeMail {
        ChangeMail {
            mailer,
            spool: spool.into(),
            lines,
            digests: Mutex::new((Digests::new(window), Vec::new())),
            started: UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            unwritable: Mutex::default(),
        }
    }

    /// What is wrong with sending; none without a mailer.
    pub fn faults(&self) -> MailFaults {
        self.mailer.as_ref().map(Mailer::faults).unwrap_or_default()
    }

    /// The receivers of routers, besides those of all.
    pub fn set_receivers<'a>(&self, of_routers: impl Iterator<Item = &'a String>) {
        if let Some(mailer) = &self.mailer {
            mailer.set_receivers(of_routers);
        }
    }

    /// Queues a mail about a fault. `to`: the receivers of a router, if it has its own.
    pub fn send(&self, to: Option<&[String]>, subject: &str, text: &str) {
        if !self.queue(to, subject, text) {
            lock(&self.unwritable).1 += 1;
        }
    }

    /// Returns false if the queue cannot be written.
    fn queue(&self, to: Option<&[String]>, subject: &str, text: &str) -> bool {
        let Some(mailer) = &self.mailer else { return true };
        let Err(cause) = mailer.send_to(to, &format!("[addrwatch] {subject}"), text) else {
            self.report_lost();
            return true;
        };
        let unwritable = &mut lock(&self.unwritable).0;
        match mailer.send_unspooled(to, &format!("[addrwatch] {subject}"), text) {
            Ok(()) => {
                unwritable.begins(format_args!(
                    "{cause}: mails are sent without it, and those that wait are lost if aw-routeros ends"
                ));
                true
            }
            Err(_) => {
                unwritable
                    .begins(format_args!("{cause}: mails are lost until the queue can be written"));
                false
            }
        }
    }

    /// Queues a mail about a change or another event, or adds it to those that wait.
    pub fn notice(&self, notice: &Notice) {
        if self.mailer.is_none() {
            return;
        }
        // Held while the file is written, so that it is not sent meanwhile.
        let (digests, unsent) = &mut *lock(&self.digests);
        let bytes = notice.summary.len() + notice.text.len();
        match digests.add(&notice.router, notice.only_user.as_deref(), bytes, Instant::now()) {
            Step::Send => self.send(notice.to.as_deref(), &notice.summary, &notice.text),
            Step::Gather(number) => self.gather(number, notice),
            Step::SendGathered(number) => {
                self.gather(number, notice);
                self.send_gathered(self.path(number), unsent);
            }
        }
    }

    /// Mails the reports that have waited long enough; to be called about once a second.
    pub fn maintain(&self) {
        let (digests, unsent) = &mut *lock(&self.digests);
        let due = digests.due(Instant::now());
        let mut paths = take(unsent);
        paths.extend(due.into_iter().map(|number| self.path(number)));
        paths.into_iter().for_each(|path| self.send_gathered(path, unsent));
    }

    /// Mails the reports that still waited when an earlier process ended or was killed.
    pub fn send_earlier(&self) {
        if self.mailer.is_none() {
            return;
        }
        let (_, unsent) = &mut *lock(&self.digests);
        let files = fs::read_dir(&self.spool).into_iter().flatten().flatten();
        let mut files: Vec<_> = files.map(|file| file.path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with(GATHERED));
        files.sort();
        unsent.clear();
        files.into_iter().for_each(|path| self.send_gathered(path, unsent));
    }

    fn path(&self, number: u64) -> PathBuf {
        self.spool.join(format!("{:020}-{number:010}{GATHERED}", self.started))
    }

    /// Adds a report to a file, where it survives a kill and a power cut. Without such a file it is mailed alone.
    fn gather(&self, number: u64, notice: &Notice) {
        let write = || {
            // On a line of its own, also behind one that was not written to its end.
            let line = format!("\n{}\n", serde_json::to_string(notice)?);
            let mut file = open_append(&self.path(number), 0o600)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        if let Err(error) = write() {
            let cause = cause(&error);
            warn(format_args!("store a report until others join it: {cause}: it is mailed alone"));
            self.send(notice.to.as_deref(), &notice.summary, &notice.text);
        }
    }

    /// Queues a mail with the reports in a file, and then removes the file: a kill in between sends them twice.
    fn send_gathered(&self, path: PathBuf, unsent: &mut Vec<PathBuf>) {
        let text = match read_file_text(&path, FileKind::State, MAX_GATHERED) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let (path, cause) = (path.display(), cause(&error));
                return warn(format_args!(
                    "read reports in {path}: {cause} (tried again at the next start)"
                ));
            }
        };
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        let notices: Vec<Notice> =
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if notices.len() < lines.len() {
            let lost = lines.len() - notices.len();
            warn(format_args!(
                "reports in {} that are not whole: {lost}: not mailed",
                path.display()
            ));
        }
        let is_queued = match &*notices {
            [] => true,
            [one] => self.queue(one.to.as_deref(), &one.summary, &one.text),
            [first, ..] => {
                let subject =
                    format!("{}: {} changes by {}", first.router, notices.len(), first.who);
                self.queue(
                    first.to.as_deref(),
                    &subject,
                    &digest_text(&notices, DIGEST_LINES * (self.lines + MAX_CLAIMS)),
                )
            }
        };
        if !is_queued {
            unsent.push(path);
        } else if let Err(error) = fs::remove_file(&path) {
            warn(format_args!("remove {}: {}", path.display(), cause(&error)));
        }
    }

    fn report_lost(&self) {
        let (unwritable, lost) = &mut *lock(&self.unwritable);
        if unwritable.clear() {
            let lost = take(lost);
            match lost {
                0 => info("the queue of mails can be written again"),
                _ => {
                    warn(format_args!("mails lost because the queue could not be written: {lost}"))
                }
            }
        }
    }

    /// Sends what can be sent at once, also reports that wait.
    pub fn finish(self) {
        self.send_earlier();
        self.report_lost();
        if let Some(mailer) = self.mailer {
            mailer.finish(FINISH);
        }
    }
}

/// A mail about several reports: a list of all, then the texts that fit into so many lines.
fn digest_text(notices: &[Notice], lines: usize) -> String {
    let mut text = format!("{} changes since the last mail about this:\n\n", notices.len());
    for notice in notices {
        text += &format!("{} {}\n", notice.when, notice.summary);
        text.extend(notice.command.as_ref().map(|command| format!("    {command}\n")));
    }
    let (mut left, mut shown) = (lines, 0);
    for notice in notices {
        let Some(rest) = left.checked_sub(notice.text.lines().count()) else { continue };
        (left, shown) = (rest, shown + 1);
        text += &format!("\n{}", notice.text);
    }
    if shown < notices.len() {
        text += &format!("\n[the texts of {} more are left out]\n", notices.len() - shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_reports_in_one_mail() {
        let notice = |n: usize| Notice {
            to: None,
            only_user: Some("alice".into()),
            router: RouterName::try_from("core1".to_owned()).unwrap(),
            who: "alice".into(),
            when: format!("time{n}"),
            summary: format!("summary{n}"),
            text: format!("a{n}\nb{n}\n"),
            command: (n == 2).then(|| "aw-routeros diff".into()),
        };
        let notices = [1, 2, 3].map(notice);
        let text = digest_text(&notices, 5);
        assert_eq!(
            text,
            "3 changes since the last mail about this:\n\ntime1 summary1\ntime2 summary2\n    aw-routeros diff\n\
             time3 summary3\n\na1\nb1\n\na2\nb2\n\n[the texts of 1 more are left out]\n"
        );
        assert!(digest_text(&notices, 6).ends_with("\na3\nb3\n"));
        // A long text hides no short one behind it.
        let mut long = notices.clone();
        long[1].text = "x\n".repeat(9);
        assert!(digest_text(&long, 5).contains("\na3\nb3\n"));
    }
}
