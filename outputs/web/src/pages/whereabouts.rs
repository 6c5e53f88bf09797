//! Whether a device was here at a time, and with which addresses: how certain that is, the evidence, and the picture around that
//! time.

use askama::Template;
use aw_query::{Answer, Cell, Listed, Question, ResultTable, TimeRange};
use axum::response::Response;
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    app::Visit,
    display::{self, device_link, encoded, time_parameter},
    download::{self, Download},
    pages::{
        self, Frame, ROWS,
        periods::Picture,
        remarks::remarks,
        who::{meaning, network, seen},
    },
    problem::Problem,
    timeline::{Window, Zoom},
};

#[derive(Template)]
#[template(path = "whereabouts.html")]
struct WhereaboutsPage {
    frame: Frame,
    mac: MacAddr,
    name: Option<String>,
    /// The path of the device.
    device: String,
    at: String,
    /// Yes, no, or not known; and why.
    verdict: (&'static str, String),
    addresses: Vec<AddressThen>,
    remarks: Vec<String>,
    picture: Picture,
    /// All of it as text, to copy.
    evidence: String,
    files: [(&'static str, String); 2],
}

struct AddressThen {
    address: String,
    link: String,
    how_sure: String,
    meaning: &'static str,
    before: Option<(String, String)>,
    after: Option<(String, String)>,
    why: String,
    network: String,
}

/// The path of the page.
pub fn link(mac: &str, at: UnixTime) -> String {
    format!("/where?mac={}&at={}", encoded(mac), time_parameter(at))
}

pub async fn whereabouts(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.zone.clone();
    let mac = visit.parameters.take_mac("mac")?;
    let at = visit.parameters.take_moment("at", &zone)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let question = Question::MacAt(mac, at);
    if let Some(file) = file {
        return visit.file(question, file, &download::name("where", &mac)).await;
    }
    let answer = visit.ask(question, ROWS).await?;
    let window = Window::around(at, Zoom::Day);
    let range = TimeRange { from: window.from, to: window.to };
    let around = visit.ask(Question::Mac(mac, range, Listed::Periods), ROWS).await?;
    let picture = Picture::of_mac(mac, &around, (window, Some(at)), &zone);
    let addresses = addresses(&answer, at, &zone);
    let verdict = verdict(&answer);
    let (name, _) = visit.app.asker.devices.of(mac);
    let name = name.map(|name| aw_service::plain(&name));
    let shown = display::time(at, &zone);
    let left_off = [
        (answer.left_off, "addresses are not shown (aw-query mac --at has all of them)"),
        (
            around.left_off,
            "periods of that day, the first ones, are not in the picture (choose the hour)",
        ),
    ];
    let label = name.as_ref().map_or(mac.to_string(), |name| format!("{mac} {name}"));
    let remarks = remarks([answer.remarks, around.remarks].concat(), &left_off);
    let evidence = evidence((&label, &shown), &verdict, &addresses, &remarks);
    let path = link(&mac.to_string(), at);
    pages::page(&WhereaboutsPage {
        frame: Frame::new(&visit, &format!("{mac} {shown}")).at(&path),
        mac,
        name,
        device: device_link(&mac.to_string()),
        at: display::day_and_time(at, &zone),
        verdict,
        addresses,
        remarks,
        picture,
        evidence,
        files: download::links(&path),
    })
}

fn verdict(answer: &Answer) -> (&'static str, String) {
    const NOT_KNOWN: &str = "Not known:";
    let table = &answer.table;
    match &answer.no_match {
        Some(why) => (NOT_KNOWN, format!("{why}.")),
        None if table.begins_after() => (
            NOT_KNOWN,
            "nothing of that time is recorded. The nearest sighting is below."
                .into(),
        ),
        None if (table.is_away() || table.rows.is_empty()) && !answer.is_complete => (
            NOT_KNOWN,
            "not all is searched, and in what is searched it was not seen within ten minutes of that time."
                .into(),
        ),
        None if is_only_said(table) => (
            NOT_KNOWN,
            "its messages name an address (below), but no device was seen to use it near that time."
                .into(),
        ),
        None if table.is_away() => {
            ("Not seen then.", "The nearest sighting is that of the address below.".into())
        }
        None if let Some(later) = only_later(table) => {
            let later = display::seconds(later);
            let why = match table.rows.iter().any(|row| *table.cell(row, "seen_before") != Cell::None) {
                true => format!("It was seen {later} later, and not within ten minutes before."),
                false => format!("It was first seen {later} later with that address, and with no other within ten minutes before."),
            };
            ("Perhaps.", why)
        }
        None => (
            "Yes.",
            "It was seen within ten minutes of that time, or before and after it without a gap."
                .into(),
        ),
    }
}

/// Whether no row is of a sighting.
fn is_only_said(table: &ResultTable) -> bool {
    let is_said = |row: &Vec<Cell>| {
        ["announced", "leased", "renewed", "requested"]
            .iter()
            .any(|how| *table.cell(row, "how_sure") == Cell::text(how))
    };
    !table.rows.is_empty() && table.rows.iter().all(is_said)
}

/// How many seconds after the time it was seen, if it was not seen within ten minutes before.
fn only_later(table: &ResultTable) -> Option<i64> {
    let seconds = |name| {
        let of_row = move |row: &Vec<Cell>| match table.cell(row, name) {
            Cell::Number(seconds) => Some(*seconds),
            _ => None,
        };
        table.rows.iter().filter_map(of_row).min()
    };
    let is_before = seconds("seconds_before").is_some_and(|seconds| seconds <= 600);
    seconds("seconds_after").filter(|_| !is_before)
}

fn addresses(answer: &Answer, at: UnixTime, zone: &TimeZone) -> Vec<AddressThen> {
    let table = &answer.table;
    let of_row = |row: &Vec<Cell>| {
        let text = |name| display::text(table.cell(row, name)).unwrap_or_default();
        let (address, how_sure) = (text("address"), text("how_sure"));
        AddressThen {
            link: format!("/who?ip={}&at={}", encoded(&address), time_parameter(at)),
            address,
            meaning: meaning(&how_sure),
            how_sure,
            before: seen(table.cell(row, "seen_before"), at, zone),
            after: seen(table.cell(row, "seen_after"), at, zone),
            why: text("why"),
            network: network(answer, row),
        }
    };
    table.rows.iter().map(of_row).collect()
}

fn evidence(
    (label, at): (&str, &str),
    verdict: &(&str, String),
    addresses: &[AddressThen],
    remarks: &[String],
) -> String {
    let mut text = format!("{label} at {at}\n{} {}\n", verdict.0, verdict.1);
    for one in addresses {
        let AddressThen { address, how_sure, before, after, why, network, .. } = one;
        let seen = |seen: &Option<(String, String)>| {
            seen.as_ref().map_or("never".into(), |(time, _)| time.clone())
        };
        text += &format!(
            "{address}\n  how sure: {how_sure}\n  seen before: {}\n  seen after: {}\n  why: {why}\n  network: {network}\n",
            seen(before),
            seen(after)
        );
    }
    text.extend(remarks.iter().map(|remark| format!("{remark}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was not searched is not known.
    #[test]
    fn a_cut_history_has_no_no() {
        let of = |rows, is_complete| {
            let mut table = ResultTable::default();
            table.rows = rows;
            let answer =
                Answer { table, no_match: None, remarks: Vec::new(), left_off: 0, is_complete };
            verdict(&answer)
        };
        let (known, why) = of(Vec::new(), false);
        assert_eq!(known, "Not known:");
        assert!(why.starts_with("not all is searched"), "{why}");
        assert_eq!(of(vec![vec![Cell::text("10.0.0.1")]], false).0, "Yes.", "it was seen");
    }

    /// What messages say is no sighting.
    #[test]
    fn an_announcement_is_no_yes() {
        let of = |words: &[&str]| {
            let mut table = ResultTable::default();
            table.columns = vec!["how_sure", "+seconds_before", "+seconds_after"];
            let row = |word: &&str| vec![Cell::text(word), 9.into(), Cell::None];
            table.rows = words.iter().map(row).collect();
            let (no_match, remarks) = (None, Vec::new());
            verdict(&Answer { table, no_match, remarks, left_off: 0, is_complete: true }).0
        };
        assert_eq!(of(&["announced", "requested"]), "Not known:");
        assert_eq!(of(&["leased"]), "Not known:");
        assert_eq!(of(&["one-sided", "announced"]), "Yes.");
    }

    /// A device that was seen after a time only was perhaps not here then.
    #[test]
    fn seen_later_is_no_yes() {
        let of = |before: Option<i64>, after: Option<i64>| {
            let mut table = ResultTable::default();
            table.columns = vec!["seen_before", "+seconds_before", "+seconds_after"];
            let seen = before.map(|before| UnixTime::new(10_000 - before, 0));
            table.rows = vec![vec![seen.into(), before.into(), after.into()]];
            let answer = Answer {
                table,
                no_match: None,
                remarks: Vec::new(),
                left_off: 0,
                is_complete: true,
            };
            verdict(&answer)
        };
        assert_eq!(of(Some(600), Some(20)).0, "Yes.");
        assert_eq!(of(Some(20), None).0, "Yes.");
        let never = of(None, Some(582));
        assert_eq!(
            never,
            ("Perhaps.", "It was first seen 9 min 42 s later with that address, and with no other within ten minutes before.".into())
        );
        let long_before = of(Some(4000), Some(60)).1;
        assert!(long_before.ends_with("and not within ten minutes before."), "{long_before}");
    }
}
