//! Whether a device was here at a time, and with which addresses: how certain that is, the evidence, and the picture around that
//! time.

use askama::Template;
use aw_query::{Answer, Cell, Question, TimeRange};
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
    let around = visit.ask(Question::Mac(mac, range, false), ROWS).await?;
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
        None if table.is_away() => {
            ("Not seen then.", "The nearest sighting is that of the address below.".into())
        }
        None => (
            "Yes.",
            "It was seen within ten minutes of that time, or before and after it without a gap."
                .into(),
        ),
    }
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
    use aw_query::ResultTable;

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
}
