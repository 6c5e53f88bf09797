//! What happened: changes and conflicts of addresses, alerts and changes of configurations, in one list, filtered and paged on the
//! server; and each entry by itself.

use std::sync::Arc;

use askama::Template;
use aw_query::{Answer, Question, TimeRange};
use axum::{extract::Path, http::StatusCode, response::Response};
use jiff::tz::TimeZone;
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display::{absolute, encoded},
    download::{self, Download},
    happening::{self, COLUMNS, Entry, Happened, Kind, Shown, Wanted},
    listing::PageOf,
    network::NetworkId,
    pages::{self, Frame, remarks::remarks},
    parameters::Parameters,
    problem::Problem,
    rows,
};

/// Without `from`, the list begins so many seconds before its end.
const WEEK: i64 = 7 * 86_400;
/// Networks that can be chosen.
const NETWORKS: usize = 200;
/// Lines of a configuration in a list; the page of the entry has all.
const LINES: usize = 40;

/// The filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct View {
    kind: Option<Kind>,
    network: Option<NetworkId>,
    text: Option<String>,
    /// As they were written: they may be relative.
    from: Option<String>,
    to: Option<String>,
    page: usize,
}

impl View {
    fn take(parameters: &mut Parameters) -> Result<View, Problem> {
        let kind = match parameters.take("kind") {
            None => None,
            Some(text) => Some(Kind::parse(&text).ok_or_else(|| {
                let names = Kind::ALL.map(Kind::name).join(", ");
                Problem::bad(format!("kind: {text:?} must be one of {names}"))
            })?),
        };
        let network = parameters.take("network");
        let mut times = parameters.clone();
        Ok(View {
            kind,
            network: network.map(|text| NetworkId::parse(&text)).transpose()?,
            text: parameters.take("text"),
            from: times.take("from"),
            to: times.take("to"),
            page: parameters.take_number("page", (1, usize::MAX))?,
        })
    }

    fn link(&self) -> String {
        let network = self.network.as_ref().map(NetworkId::text);
        let parts = [
            ("kind", self.kind.map(|kind| kind.name().to_owned())),
            ("network", network),
            ("text", self.text.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("page", (self.page > 1).then(|| self.page.to_string())),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let parts: Vec<_> =
            parts.map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
        match parts.is_empty() {
            true => "/happened".into(),
            false => format!("/happened?{}", parts.join("&")),
        }
    }

    /// The same at all times: from its first second to its last one.
    fn of_times(&self, from: UnixTime, to: UnixTime) -> View {
        View { from: Some(absolute(from)), to: Some(absolute(to)), ..self.clone() }
    }

    /// The link to another view, from its first page.
    fn link_with(&self, change: impl FnOnce(&mut View)) -> String {
        let mut view = View { page: 1, ..self.clone() };
        change(&mut view);
        view.link()
    }
}

#[derive(Template)]
#[template(path = "happened.html")]
struct HappenedPage {
    frame: Frame,
    /// Of one entry; its link leads to the list.
    is_alone: bool,
    kinds: Vec<KindLink>,
    view: View,
    /// Parameter, label, and whether it is chosen.
    networks: Vec<(String, String, bool)>,
    entries: Vec<Shown>,
    nothing: String,
    found: usize,
    page: PageOf,
    previous: Option<String>,
    next: Option<String>,
    files: [(&'static str, String); 2],
    remarks: Vec<String>,
}

struct KindLink {
    label: &'static str,
    count: usize,
    /// None: it is shown.
    link: Option<String>,
}

/// What happened, of which the history has this answer; and which records cannot be read. It is done in the thread of the question,
/// as all that grows with the history and the records.
fn all_of(
    visit: &Visit,
    wanted: &Wanted,
    answer: &Answer,
) -> Result<(Happened, Vec<String>), Problem> {
    let mut records = visit.app.records.read()?;
    let unread = std::mem::take(&mut records.remarks);
    Ok((Happened::new(&answer.table, records, wanted), unread))
}

/// What is asked for what happened in these times: a limit for all of it would hide a change behind those of others.
fn question(range: TimeRange) -> (Question, usize) {
    (Question::Changes(happening::read_range(range)), usize::MAX)
}

const LEFT_OFF: &str =
    "entries, which were before these, are not in the list (choose a shorter time, or a filter)";

pub async fn happened(mut visit: Visit) -> Result<Response, Problem> {
    let view = View::take(&mut visit.parameters)?;
    let mut range = visit.parameters.take_range(&visit.zone)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    if view.from.is_none() {
        let end = range.to.min(UnixTime::now());
        range.from = UnixTime::new(end.seconds().saturating_sub(WEEK), 0);
    }
    let app = Arc::clone(&visit.app);
    let zone = zone_of(&visit, file);
    let page = move |answer| list(&visit, (view, range), file, answer);
    let (question, limit) = question(range);
    app.asker.ask_and(question, (limit, &zone), page).await
}

/// A file has the zone of the server.
fn zone_of(visit: &Visit, file: Option<Download>) -> TimeZone {
    if file.is_some() { visit.app.asker.zone.clone() } else { visit.zone.clone() }
}

fn list(
    visit: &Visit,
    (view, range): (View, TimeRange),
    file: Option<Download>,
    mut answer: Answer,
) -> Result<Response, Problem> {
    let zone = &visit.zone;
    let text = view.text.as_deref().map(str::to_lowercase);
    let wanted = Wanted {
        kind: view.kind,
        network: view.network.as_ref(),
        text: text.as_deref(),
        ..Wanted::of(range.from, range.to)
    };
    let (found, unread) = all_of(visit, &wanted, &answer)?;
    let Happened { entries: all, counts, networks, left_off } = found;
    answer.is_complete &= left_off == 0 && unread.is_empty();
    answer.left_off = left_off;
    answer.remarks.extend(unread);
    // Of what was searched, and where the history begins.
    let searched = answer.no_match.take();
    let when = if view.from.is_none() && view.to.is_none() { " in the last 7 days" } else { "" };
    let nothing = nothing(when, answer.is_complete, searched.as_deref());
    let has_alerts = visit.app.live.health().outputs.contains_key("aw-alert");
    let nothing = match view.kind {
        Some(Kind::Alert) if all.is_empty() && !has_alerts => {
            format!("{nothing}: aw-alert has not run here (sudo systemctl enable --now aw-alert)")
        }
        _ => nothing,
    };
    answer.no_match = all.is_empty().then(|| nothing.clone());
    let mut networks: Vec<&NetworkId> = networks.iter().take(NETWORKS).collect();
    // Also if it is none of the first ones: the form has what was chosen.
    networks.extend(&view.network);
    networks.sort_unstable();
    networks.dedup();
    let option = |id: &NetworkId| (id.text(), id.label(), view.network.as_ref() == Some(id));
    let networks = networks.into_iter().map(option).collect();
    let count = |kind: Option<Kind>| kind.map_or(counts.iter().sum(), |kind| counts[kind as usize]);
    let link = |kind: Option<Kind>| KindLink {
        label: kind.map_or("All", Kind::plural),
        count: count(kind),
        link: (kind != view.kind).then(|| view.link_with(|view| view.kind = kind)),
    };
    let kinds = [None].into_iter().chain(Kind::ALL.map(Some)).map(link).collect();
    if let Some(file) = file {
        return file_of(file, &all, answer, &visit.app.asker.zone);
    }
    let page = PageOf::new(view.page, all.len());
    // An end that is not known yet is now, or the latest entry.
    let last = UnixTime::from_nanos(range.to.as_nanos() - 1);
    let latest = all.first().map_or(UnixTime::now(), |entry| entry.time.max(UnixTime::now()));
    let fixed = view.of_times(range.from, if view.to.is_some() { last } else { latest });
    let of_page = |number: usize| View { page: number, ..fixed.clone() }.link();
    pages::page(&HappenedPage {
        frame: Frame::new(visit, "").at(&fixed.link()),
        is_alone: false,
        kinds,
        networks,
        entries: page.items(&all).map(|entry| Shown::new(entry, zone, LINES)).collect(),
        nothing,
        found: all.len(),
        page,
        previous: (page.number > 1).then(|| of_page(page.number - 1)),
        next: (page.number < page.all).then(|| of_page(page.number + 1)),
        files: download::links(&fixed.link_with(|_| {})),
        remarks: remarks(answer.remarks, &[(left_off, LEFT_OFF)]),
        view,
    })
}

/// That nothing is in the list, as far as it is known.
fn nothing(when: &str, is_complete: bool, searched: Option<&str>) -> String {
    let nothing = match is_complete {
        true => "Nothing",
        false => "Not known: not all was searched, and among what was: nothing",
    };
    format!("{nothing}{when}") + &searched.map_or(String::new(), |text| format!(" ({text})"))
}

fn file_of(
    file: Download,
    entries: &[Entry],
    answer: Answer,
    zone: &TimeZone,
) -> Result<Response, Problem> {
    let rows: Vec<_> = entries.iter().map(Entry::cells).collect();
    let answer = download::with_rows(answer, COLUMNS.into(), Vec::new());
    // An entry may have hundreds of lines.
    let bytes: usize = rows.iter().map(|row| rows::bytes_of(row)).sum();
    let row_bytes = bytes.div_ceil(rows.len().max(1));
    file.rows("happened", (answer, rows.into_iter()), zone, row_bytes)
}

/// One entry, by its permanent link.
pub async fn entry(mut visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let time = Entry::time_of(&id).ok_or_else(|| gone(&[], true))?;
    let to = UnixTime::new(time.seconds().saturating_add(1), 0);
    let range = TimeRange { from: time, to };
    let app = Arc::clone(&visit.app);
    let zone = zone_of(&visit, file);
    let page = move |answer| alone(&visit, (&id, range), file, answer);
    let (question, limit) = question(range);
    app.asker.ask_and(question, (limit, &zone), page).await
}

/// Why there is no entry with an id. What is not read or not searched may have it.
fn gone(unread: &[String], is_complete: bool) -> Problem {
    let why = match (unread, is_complete) {
        ([], true) => {
            let why = "nothing with this link is known (it may be older than what is kept)";
            return Problem::new(StatusCode::NOT_FOUND, why);
        }
        ([], false) => {
            "it is not among the changes that are searched, and not all of that week are".to_owned()
        }
        (unread, _) => unread.join("; "),
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("whether there is something with this link is not known: {why}"),
    )
}

fn alone(
    visit: &Visit,
    (id, range): (&str, TimeRange),
    file: Option<Download>,
    answer: Answer,
) -> Result<Response, Problem> {
    let wanted = Wanted { with_copies: true, ..Wanted::of(range.from, range.to) };
    let (all, unread) = all_of(visit, &wanted, &answer)?;
    let found = all.entries.into_iter().find(|entry| entry.is(id));
    let found = found.ok_or_else(|| gone(&unread, answer.is_complete && all.left_off == 0))?;
    if let Some(file) = file {
        let answer = Answer { no_match: None, ..answer };
        return file_of(file, &[found], answer, &visit.app.asker.zone);
    }
    let shown = Shown::new(&found, &visit.zone, usize::MAX);
    let page = PageOf::new(1, 1);
    pages::page(&HappenedPage {
        frame: Frame::new(visit, ""),
        is_alone: true,
        kinds: Vec::new(),
        view: View::default(),
        networks: Vec::new(),
        files: download::links(&shown.link),
        entries: vec![shown],
        nothing: String::new(),
        found: 1,
        page,
        previous: None,
        next: None,
        remarks: unread,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be read may have it.
    #[test]
    fn what_is_not_read_is_not_gone() {
        assert_eq!(gone(&[], true).status, StatusCode::NOT_FOUND);
        let cut = gone(&[], false);
        assert_eq!(cut.status, StatusCode::SERVICE_UNAVAILABLE);
        let unread = gone(&["no alerts are shown: read x".to_owned()], true);
        assert_eq!(unread.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(unread.why.ends_with("is not known: no alerts are shown: read x"), "{unread}");
    }

    /// Of a time of which nothing is recorded, the reason is there.
    #[test]
    fn why_there_is_nothing() {
        let searched = "no changes before 2020-02-01; the history begins 2026-11-01";
        let text = nothing("", true, Some(searched));
        assert_eq!(text, format!("Nothing ({searched})"));
        assert_eq!(nothing(" in the last 7 days", true, None), "Nothing in the last 7 days");
        assert!(nothing("", false, None).starts_with("Not known: not all"));
    }

    /// A link leads to what it was made of.
    #[test]
    fn there_and_back() {
        for text in [
            "",
            "?kind=conflict&network=interface%3Deth0&text=a%26b&from=2d&to=1h&page=3",
            "?from=last+tuesday",
        ] {
            let mut parameters = Parameters::parse(text.trim_start_matches('?')).unwrap();
            let view = View::take(&mut parameters).unwrap();
            assert_eq!(view.link(), format!("/happened{text}"));
        }
        let mut bad = Parameters::parse("kind=x").unwrap();
        assert!(View::take(&mut bad).unwrap_err().why.contains("change, conflict, alert"));
    }
}
