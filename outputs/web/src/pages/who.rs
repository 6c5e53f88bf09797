//! Which device had an address at a time: how certain that is, the evidence before and after, and the picture around that time.

use std::net::IpAddr;

use askama::Template;
use aw_query::{Answer, Cell, Question, TimeRange};
use axum::response::Response;
use jiff::tz::TimeZone;
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display::{self, device_link, encoded, time_parameter},
    download::{self, Download},
    network::NetworkId,
    network_label,
    pages::{self, Frame, ROWS, periods::Picture, remarks::remarks},
    problem::Problem,
    timeline::{Window, Zoom},
};

#[derive(Template)]
#[template(path = "who.html")]
struct WhoPage {
    frame: Frame,
    ip: IpAddr,
    ip_link: String,
    at: String,
    holders: Vec<Holder>,
    no_match: Option<String>,
    remarks: Vec<String>,
    picture: Picture,
    /// All of it as text, to copy.
    evidence: String,
    files: [(&'static str, String); 2],
}

struct Holder {
    mac: String,
    link: String,
    /// Where it was around that time.
    timeline: String,
    name: Option<String>,
    maker: Option<String>,
    how_sure: String,
    meaning: &'static str,
    before: Option<(String, String)>,
    after: Option<(String, String)>,
    why: String,
    network: String,
}

/// What the word for the certainty means, as `aw-query --help` explains it.
pub fn meaning(how_sure: &str) -> &'static str {
    match how_sure {
        "sure" => "It was seen near that time, before and after, and no other device was.",
        "likely" => {
            "It was the last one seen before and the first one after, but not near the time on both sides."
        }
        "one-sided" => {
            "It was seen only before or only after; no device was seen on the other side."
        }
        "changed" => {
            "One device was the last one seen before, another one was the first one seen after."
        }
        "contested" => {
            "Several devices were seen with the address near that time, or another one sent the frames of this one."
        }
        "probed" => "No device ever claimed the address; this one asked whether it is free.",
        "announced" => {
            "No device was seen to use the address; this one announced it. Any host can send that."
        }
        "leased" => {
            "No device was seen to use the address; a DHCP server gave it to this one. Any host can send that."
        }
        "renewed" => {
            "No device was seen to use the address; this one asked a DHCP server to keep it. Any host can send that."
        }
        "requested" => {
            "No device was seen to use the address; this one only asked a DHCP server for it, and need not have got it."
        }
        _ => "",
    }
}

pub async fn who(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.zone.clone();
    let ip = visit.parameters.take_ip("ip")?;
    let at = visit.parameters.take_moment("at", &zone)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let question = Question::Who(ip, at);
    if let Some(file) = file {
        return visit.file(question, file, &download::name("who", &ip)).await;
    }
    let answer = visit.ask(question, ROWS).await?;
    let window = Window::around(at, Zoom::Day);
    let range = TimeRange { from: window.from, to: window.to };
    let around = visit.ask(Question::Ip(ip, range, false), ROWS).await?;
    let picture = Picture::of_address(ip, &around, (window, Some(at)), &zone)?;
    let holders: Vec<Holder> = holders(&answer, at, &zone);
    let shown = display::time(at, &zone);
    let ip_link = encoded(&ip.to_string());
    let path = format!("/who?ip={ip_link}&at={}", time_parameter(at));
    let frame = Frame::new(&visit, &format!("{ip} {shown}")).at(&path);
    let left_off = [(answer.left_off, "devices are not shown (aw-query who has all of them)")];
    let own = remarks(answer.remarks.clone(), &left_off);
    let evidence = evidence(ip, &shown, &holders, (&answer, &own));
    // The picture has the latest rows of its day, and may have none at the time of the question.
    let left_off = [
        left_off[0],
        (
            around.left_off,
            "periods of that day, the first ones, are not in the picture (choose the hour)",
        ),
    ];
    let all = answer.remarks.iter().chain(&around.remarks).cloned().collect();
    let remarks = remarks(all, &left_off);
    let no_match = answer.no_match;
    pages::page(&WhoPage {
        frame,
        ip,
        ip_link,
        at: display::day_and_time(at, &zone),
        holders,
        no_match,
        remarks,
        picture,
        evidence,
        files: download::links(&path),
    })
}

fn holders(answer: &Answer, at: UnixTime, zone: &TimeZone) -> Vec<Holder> {
    let table = &answer.table;
    let of_row = |row: &Vec<Cell>| {
        let text = |name| display::text(table.cell(row, name));
        let mac = text("mac").unwrap_or_default();
        let how_sure = text("how_sure").unwrap_or_default();
        let seen = |name| seen(table.cell(row, name), at, zone);
        Holder {
            link: device_link(&mac),
            timeline: format!("{}?at={}&zoom=day", device_link(&mac), time_parameter(at)),
            name: text("name").or_else(|| display::claim(table, row)),
            maker: text("maker"),
            meaning: meaning(&how_sure),
            before: seen("seen_before"),
            after: seen("seen_after"),
            why: text("why").unwrap_or_default(),
            network: network(answer, row),
            how_sure,
            mac,
        }
    };
    table.rows.iter().map(of_row).collect()
}

/// A time of the evidence, and how far it is from the time in question. Within compacted sightings, it is an end of the time
/// without a gap, which may be hours away.
pub fn seen(cell: &Cell, at: UnixTime, zone: &TimeZone) -> Option<(String, String)> {
    let Cell::Time(time) = cell else { return None };
    // Whole seconds between the exact times, as the reason has them.
    let seconds = time.as_nanos().abs_diff(at.as_nanos()) / 1_000_000_000;
    Some((display::time(*time, zone), display::seconds(seconds as i64)))
}

/// Where a row is of: the interface and what distinguishes it.
pub fn network(answer: &Answer, row: &[Cell]) -> String {
    network_label::full(&NetworkId::of(&answer.table, row))
}

fn evidence(
    ip: IpAddr,
    at: &str,
    holders: &[Holder],
    (answer, remarks): (&Answer, &[String]),
) -> String {
    let mut text = format!("{ip} at {at}\n");
    text.extend(answer.no_match.iter().map(|why| format!("{why}\n")));
    for one in holders {
        let Holder { mac, name, maker, how_sure, before, after, why, network, .. } = one;
        let labels: Vec<&str> = [name, maker].into_iter().flatten().map(String::as_str).collect();
        let seen = |seen: &Option<(String, String)>| {
            seen.as_ref().map_or("never".into(), |(time, _)| time.clone())
        };
        text += &format!(
            "{mac} {}\n  how sure: {how_sure}\n  seen before: {}\n  seen after: {}\n  why: {why}\n  network: {network}\n",
            labels.join(", "),
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

    /// The words that the questions have.
    #[test]
    fn each_word_is_explained() {
        for word in
            "sure likely one-sided changed contested probed announced leased renewed requested"
                .split(' ')
        {
            assert!(!meaning(word).is_empty(), "{word}");
        }
    }
}
