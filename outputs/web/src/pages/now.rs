//! Which devices are here, new today, unknown, or silent: filtered, sorted, and paged on the server.

use askama::Template;
use aw_query::{Answer, Question, TimeRange};
use axum::response::Response;
use jiff::{Timestamp, tz::TimeZone};
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display::encoded,
    download::{self, Download},
    listing::{Device, Heading, PageOf, Shown, Sort},
    network::NetworkId,
    pages::{self, Frame, UNSEARCHED, remarks::remarks},
    parameters::Parameters,
    problem::Problem,
};

/// Devices that are searched.
pub const SEARCHED: usize = 50_000;
/// Minutes since the last sighting of a device that is here: without `within`, and at most.
const WITHIN: (usize, usize) = (30, 10_080);
/// Networks that can be chosen.
const NETWORKS: usize = 200;

/// Which devices a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Here,
    New,
    Unknown,
    Silent,
    All,
}

impl State {
    const ALL: [State; 5] = [State::Here, State::New, State::Unknown, State::Silent, State::All];

    fn name(self) -> &'static str {
        match self {
            State::Here => "here",
            State::New => "new",
            State::Unknown => "unknown",
            State::Silent => "silent",
            State::All => "all",
        }
    }

    fn label(self) -> &'static str {
        match self {
            State::Here => "Here",
            State::New => "New today",
            State::Unknown => "Unknown",
            State::Silent => "Silent",
            State::All => "All",
        }
    }

    /// What the list has, for a number of minutes.
    fn meaning(self, within: usize) -> String {
        match self {
            State::Here => format!("Seen in the last {within} minutes."),
            State::New => "Seen for the first time today.".into(),
            State::Unknown => "Without a name: aw-query name MAC NAME gives one.".into(),
            State::Silent => format!("Not seen in the last {within} minutes."),
            State::All => "All devices of the history.".into(),
        }
    }

    fn has(self, device: &Device, since: UnixTime, midnight: UnixTime) -> bool {
        let is_here = device.last.is_some_and(|last| last >= since);
        match self {
            State::Here => is_here,
            State::New => device.first.is_some_and(|first| first >= midnight),
            State::Unknown => device.name.is_none(),
            State::Silent => !is_here,
            State::All => true,
        }
    }
}

/// The parameters of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    state: State,
    network: Option<NetworkId>,
    /// A part of the maker's name.
    maker: Option<String>,
    private: Option<bool>,
    within: usize,
    sort: Sort,
    is_reversed: bool,
    page: usize,
}

impl View {
    fn take(parameters: &mut Parameters) -> Result<View, Problem> {
        let state = match parameters.take("state") {
            None => State::Here,
            Some(text) => {
                State::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
                    Problem::bad(format!(
                        "state: {text:?} must be here, new, unknown, silent or all"
                    ))
                })?
            }
        };
        let network = parameters.take("network");
        let network = network.map(|text| NetworkId::parse(&text)).transpose()?;
        let private = match parameters.take("private").as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(text) => {
                return Err(Problem::bad(format!("private: {text:?} must be true or false")));
            }
        };
        let sort = match parameters.take("sort") {
            None => Sort::Last,
            Some(text) => Sort::parse(&text).ok_or_else(|| {
                let names = Sort::ALL.map(Sort::name).join(", ");
                Problem::bad(format!("sort: {text:?} must be one of {names}"))
            })?,
        };
        Ok(View {
            state,
            network,
            maker: parameters.take("maker"),
            private,
            within: parameters.take_number("within", WITHIN)?,
            sort,
            is_reversed: parameters.take_flag("reverse")?,
            page: parameters.take_number("page", (1, usize::MAX))?,
        })
    }

    fn link(&self) -> String {
        let mut parts = vec![format!("state={}", self.state.name())];
        let network = self.network.as_ref().map(|id| format!("network={}", encoded(&id.text())));
        parts.extend(network);
        parts.extend(self.maker.as_ref().map(|maker| format!("maker={}", encoded(maker))));
        parts.extend(self.private.map(|private| format!("private={private}")));
        let mut others = vec![
            (self.within != WITHIN.0, format!("within={}", self.within)),
            (self.sort != Sort::Last, format!("sort={}", self.sort.name())),
            (self.is_reversed, "reverse=true".into()),
            (self.page > 1, format!("page={}", self.page)),
        ];
        others.retain(|(is_wanted, _)| *is_wanted);
        parts.extend(others.into_iter().map(|(_, part)| part));
        format!("/now?{}", parts.join("&"))
    }

    /// The link to another view, from its first page.
    fn link_with(&self, change: impl FnOnce(&mut View)) -> String {
        let mut view = View { page: 1, ..self.clone() };
        change(&mut view);
        view.link()
    }

    /// Whether a device passes the filters.
    fn admits(&self, device: &Device) -> bool {
        let wanted = self.maker.as_deref().map(str::to_lowercase);
        let maker = || device.maker.as_deref().unwrap_or_default().to_lowercase();
        self.network.as_ref().is_none_or(|network| *network == device.network)
            && wanted.is_none_or(|wanted| maker().contains(&wanted))
            && self.private.is_none_or(|private| private == device.is_private())
    }

    fn headings(&self) -> Vec<Heading> {
        let of = |sort: Sort| {
            let is_sorted = sort == self.sort;
            let is_reversed = is_sorted && !self.is_reversed;
            // Times are sorted with the latest first.
            let is_descending = matches!(sort, Sort::First | Sort::Last) != self.is_reversed;
            let order = if is_descending { "descending" } else { "ascending" };
            Heading {
                label: sort.label(),
                link: self.link_with(|view| (view.sort, view.is_reversed) = (sort, is_reversed)),
                order: is_sorted.then_some(order),
            }
        };
        Sort::ALL.map(of).into()
    }
}

/// The path of a list of all devices of a network.
pub fn all_of(network: &NetworkId) -> String {
    format!("/now?state=all&network={}", encoded(&network.text()))
}

#[derive(Template)]
#[template(path = "now.html")]
struct NowPage {
    frame: Frame,
    title: &'static str,
    meaning: String,
    states: Vec<StateLink>,
    filters: Filters,
    headings: Vec<Heading>,
    devices: Vec<Shown>,
    found: usize,
    page: PageOf,
    previous: Option<String>,
    next: Option<String>,
    files: [(&'static str, String); 2],
    remarks: Vec<String>,
    /// All devices were searched.
    is_complete: bool,
}

struct StateLink {
    label: &'static str,
    count: usize,
    /// None: it is shown.
    link: Option<String>,
}

/// The form of filters.
struct Filters {
    state: &'static str,
    sort: &'static str,
    is_reversed: bool,
    within: usize,
    most: usize,
    maker: String,
    /// Parameter, label, and whether it is chosen.
    networks: Vec<(String, String, bool)>,
    private: Option<bool>,
}

impl Filters {
    fn new(view: &View, devices: &[Device]) -> Filters {
        let mut networks: Vec<&NetworkId> = devices.iter().map(|one| &one.network).collect();
        networks.extend(&view.network);
        networks.sort_unstable();
        networks.dedup();
        networks.truncate(NETWORKS);
        let option = |id: &NetworkId| (id.text(), id.label(), view.network.as_ref() == Some(id));
        Filters {
            state: view.state.name(),
            sort: view.sort.name(),
            is_reversed: view.is_reversed,
            within: view.within,
            most: WITHIN.1,
            maker: view.maker.clone().unwrap_or_default(),
            networks: networks.into_iter().map(option).collect(),
            private: view.private,
        }
    }
}

/// The first moment of this day in a zone.
fn midnight(zone: &TimeZone) -> UnixTime {
    let now = Timestamp::now().to_zoned(zone.clone());
    let midnight = now.start_of_day().map_or(now.timestamp(), |midnight| midnight.timestamp());
    UnixTime::new(midnight.as_second(), 0)
}

/// The time since which a device was seen that is here.
fn since(within: usize, now: UnixTime) -> UnixTime {
    UnixTime::new(now.seconds().saturating_sub(60 * within as i64), 0)
}

/// The same without parameters.
pub fn here_since(now: UnixTime) -> UnixTime {
    since(WITHIN.0, now)
}

pub async fn now(mut visit: Visit) -> Result<Response, Problem> {
    let view = View::take(&mut visit.parameters)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let asker = &visit.app.asker;
    // A device of several networks is in the list of each of them, and once in the list of all.
    let question = match view.network {
        Some(_) => Question::DevicesOfNetworks(TimeRange::ALL),
        None => Question::Devices(TimeRange::ALL),
    };
    let mut answer = asker.ask(question, SEARCHED).await?;
    let (now, midnight) = (UnixTime::now(), midnight(&asker.zone));
    let since = since(view.within, now);
    let mut devices = Device::all(&answer.table);
    let filters = Filters::new(&view, &devices);
    devices.retain(|device| view.admits(device));
    let count = |state: State| devices.iter().filter(|one| state.has(one, since, midnight)).count();
    let states = State::ALL.map(|state| StateLink {
        label: state.label(),
        count: count(state),
        link: (state != view.state).then(|| view.link_with(|view| view.state = state)),
    });
    devices.retain(|device| view.state.has(device, since, midnight));
    view.sort.sort(&mut devices, view.is_reversed);
    if let Some(file) = file {
        let table = &mut answer.table;
        let rows = devices.iter().map(|one| std::mem::take(&mut table.rows[one.row]));
        table.rows = rows.collect();
        return file.file(&format!("devices-{}", view.state.name()), &answer, &asker.zone);
    }
    let page = PageOf::new(view.page, devices.len());
    let of_page = |number: usize| View { page: number, ..view.clone() }.link();
    let Answer { remarks: own, left_off, .. } = answer;
    pages::page(&NowPage {
        frame: Frame::new(&visit, ""),
        title: view.state.label(),
        meaning: view.state.meaning(view.within),
        states: states.into(),
        filters,
        headings: view.headings(),
        devices: page.items(&devices).map(|one| Shown::new(one, now, &asker.zone)).collect(),
        found: devices.len(),
        page,
        previous: (page.number > 1).then(|| of_page(page.number - 1)),
        next: (page.number < page.all).then(|| of_page(page.number + 1)),
        files: download::links(&view.link_with(|_| {})),
        remarks: remarks(own, &[(left_off, UNSEARCHED)]),
        is_complete: left_off == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> Result<View, Problem> {
        let mut parameters = Parameters::parse(text)?;
        let view = View::take(&mut parameters)?;
        parameters.finish().map(|()| view)
    }

    /// A link leads to what it was made of.
    #[test]
    fn there_and_back() {
        for text in [
            "state=here",
            "state=silent&network=interface%3Deth0%26host%3Da%252Bb&maker=AT%26T&private=true&within=5&sort=name&reverse=true&page=7",
            "state=new&private=false",
        ] {
            let known = view(text).unwrap();
            assert_eq!(known.link(), format!("/now?{text}"));
        }
        for (bad, why) in [
            ("state=away", "here, new"),
            ("network=eth0", "network"),
            ("private=yes", "true or false"),
            ("within=0", "from 1 to 10080"),
            ("sort=age", "one of name, mac"),
            ("page=0", "from 1 to"),
        ] {
            let problem = view(bad).unwrap_err();
            assert!(problem.why.contains(why), "{bad}: {problem}");
        }
        let network = NetworkId::parse("interface=eth0").unwrap();
        assert!(view(all_of(&network).split_once('?').unwrap().1).is_ok());
    }
}
