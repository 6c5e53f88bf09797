//! Which devices are here, new today, unknown, or silent: filtered, sorted, and paged on the server.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use jiff::{Timestamp, tz::TimeZone};
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display::encoded,
    download::{self, Download},
    listing::{Device, DeviceList, Heading, PageOf, Shown, Sort},
    network::NetworkId,
    options::Role,
    pages::{self, Frame, remarks::remarks},
    parameters::Parameters,
    problem::Problem,
};

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
    Unseen,
}

impl State {
    const ALL: [State; 6] =
        [State::Here, State::New, State::Unknown, State::Silent, State::All, State::Unseen];

    fn name(self) -> &'static str {
        match self {
            State::Here => "here",
            State::New => "new",
            State::Unknown => "unknown",
            State::Silent => "silent",
            State::All => "all",
            State::Unseen => "announced",
        }
    }

    fn label(self) -> &'static str {
        match self {
            State::Here => "Here",
            State::New => "New today",
            State::Unknown => "Unknown",
            State::Silent => "Silent",
            State::All => "All",
            State::Unseen => "Not seen in use",
        }
    }

    /// What the list has, for a number of minutes, for a user who may name devices or may not, and for a history that begins today.
    fn meaning(self, within: usize, may_name: bool, begins_today: bool) -> String {
        match self {
            State::Here => format!("Seen in the last {within} minutes."),
            State::New if begins_today => {
                "The history begins today: tomorrow, this list has the devices that are new then."
                    .into()
            }
            State::New => "Seen for the first time today.".into(),
            State::Unknown if may_name => "Without a name: the page of a device gives one.".into(),
            State::Unknown => "Without a name: aw-query name MAC NAME gives one.".into(),
            State::Silent => format!("Not seen in the last {within} minutes."),
            State::All => "All devices of the history that were seen.".into(),
            State::Unseen => "Not seen to use an address: messages say what they call themselves, or which address they announced, got or asked for. Any host can send that, and the last time may be an hour older than it is.".into(),
        }
    }

    /// Whether a device is in the list. With a midnight before which there is no history, none is new: all would be, as in the report
    /// of aw-tracker.
    fn has(
        self,
        device: &Device,
        within: usize,
        (now, midnight): (UnixTime, Option<UnixTime>),
    ) -> bool {
        let is_since = |midnight| device.first.is_some_and(|first| first >= midnight);
        match self {
            State::Here => device.is_here(within, now),
            State::New => midnight.is_some_and(is_since),
            State::Unknown => device.name.is_none(),
            State::Silent => !device.is_here(within, now),
            State::All => true,
            State::Unseen => false, // they are a list of their own
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
                        "state: {text:?} must be here, new, unknown, silent, all or announced"
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
    fn filter(&self) -> impl Fn(&Device) -> bool {
        let wanted = self.maker.as_deref().map(str::to_lowercase);
        let maker = |device: &Device| device.maker.as_deref().unwrap_or_default().to_lowercase();
        move |device: &Device| {
            self.network.as_ref().is_none_or(|network| *network == *device.network)
                && wanted.as_ref().is_none_or(|wanted| maker(device).contains(wanted))
                && self.private.is_none_or(|private| private == device.is_private())
        }
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
    /// What is seen is shown at once, if it is of this network, or of any.
    is_live: bool,
    /// A collector runs.
    is_captured: bool,
    /// The history has no device.
    is_new_history: bool,
    network: String,
}

struct StateLink {
    label: &'static str,
    /// Of devices, in brackets.
    number: String,
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
    fn new(view: &View, networks: &[Arc<NetworkId>]) -> Filters {
        let mut networks: Vec<&NetworkId> = networks.iter().map(|one| &**one).collect();
        networks.sort_unstable();
        networks.dedup();
        networks.truncate(NETWORKS);
        // Also if it is none of the first ones: the form has what was chosen.
        networks.extend(&view.network);
        networks.sort_unstable();
        networks.dedup();
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

/// Whether a device is here, by the minutes without parameters.
pub fn is_here(device: &Device, now: UnixTime) -> bool {
    device.is_here(WITHIN.0, now)
}

pub async fn now(mut visit: Visit) -> Result<Response, Problem> {
    let view = View::take(&mut visit.parameters)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let app = Arc::clone(&visit.app);
    let page = move |list: &Arc<DeviceList>| {
        let network = view.network.clone().map(|named| list.meant(named));
        answer(&visit, &View { network, ..view }, file, list)
    };
    app.asker.list(page).await
}

fn answer(
    visit: &Visit,
    view: &View,
    file: Option<Download>,
    list: &Arc<DeviceList>,
) -> Result<Response, Problem> {
    let zone = &visit.app.asker.zone;
    let midnight = Some(midnight(&visit.zone));
    let midnight = midnight.filter(|midnight| list.begin.is_none_or(|begin| begin < *midnight));
    let times @ (now, _) = (UnixTime::now(), midnight);
    // A device of several networks is in the list of each of them, and once in the list of all.
    let devices = list.devices(view.network.is_some());
    let unseen = list.unseen(view.network.is_some());
    let is_admitted = view.filter();
    let mut devices: Vec<&Device> = devices.iter().filter(|one| is_admitted(one)).collect();
    let unseen: Vec<&Device> = unseen.iter().filter(|one| is_admitted(one)).collect();
    let has = |state: State, one: &Device| state.has(one, view.within, times);
    let states = State::ALL.map(|state| StateLink {
        label: state.label(),
        number: match state {
            State::Unseen => format!("({})", unseen.len()),
            State::New if midnight.is_none() => "(–)".into(),
            _ => format!("({})", devices.iter().filter(|one| has(state, one)).count()),
        },
        link: (state != view.state).then(|| view.link_with(|view| view.state = state)),
    });
    match view.state {
        State::Unseen => devices = unseen,
        _ => devices.retain(|one| has(view.state, one)),
    }
    view.sort.sort(&mut devices, view.is_reversed);
    if let Some(file) = file {
        let (name, rows) = (format!("devices-{}", view.state.name()), list.rows(&devices));
        return file.rows(&name, (list.answer(), rows), zone, size_of::<Device>());
    }
    let may_name = visit.app.names.is_some() && visit.user.role != Role::Reader;
    let page = PageOf::new(view.page, devices.len());
    let of_page = |number: usize| View { page: number, ..view.clone() }.link();
    pages::page(&NowPage {
        frame: Frame::new(visit, ""),
        title: view.state.label(),
        meaning: view.state.meaning(view.within, may_name, midnight.is_none()),
        states: states.into(),
        filters: Filters::new(view, &list.networks),
        headings: view.headings(),
        devices: page.items(&devices).map(|one| Shown::new(one, now, &visit.zone)).collect(),
        found: devices.len(),
        page,
        previous: (page.number > 1).then(|| of_page(page.number - 1)),
        next: (page.number < page.all).then(|| of_page(page.number + 1)),
        files: download::links(&view.link_with(|_| {})),
        remarks: remarks(list.remarks.clone(), &[]),
        is_complete: list.is_complete,
        is_live: !visit.app.live.rings.is_empty() && view.state != State::Unseen,
        is_captured: visit.app.live.health().is_live(),
        is_new_history: list.begin.is_none(),
        network: view.network.as_ref().map_or_else(String::new, NetworkId::text),
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

    /// The form has the chosen network, however many there are before it; and a list of at most so many.
    #[test]
    fn the_chosen_network_is_in_the_form() {
        let of = |number: usize| NetworkId::parse(&format!("interface=eth{number:03}")).unwrap();
        let all: Vec<Arc<NetworkId>> =
            (0..NETWORKS + 9).map(|number| Arc::new(of(number))).collect();
        for (chosen, number) in [(0, NETWORKS), (NETWORKS + 5, NETWORKS + 1)] {
            let mut view = view("state=all").unwrap();
            view.network = Some(of(chosen));
            let filters = Filters::new(&view, &all);
            assert_eq!(filters.networks.len(), number);
            let chosen: Vec<_> = filters.networks.iter().filter(|(_, _, is)| *is).collect();
            assert_eq!(chosen.len(), 1, "{chosen:?}");
        }
    }

    #[test]
    fn who_names_a_device() {
        let of = |may_name| State::Unknown.meaning(1, may_name, false);
        assert!(of(false).contains("aw-query name MAC NAME"));
        assert_eq!(of(true), "Without a name: the page of a device gives one.");
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
            ("network=eth0 7", "network"),
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
