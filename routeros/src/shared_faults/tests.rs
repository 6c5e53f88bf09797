use super::*;
use crate::config::Config;

/// Routers `r0`, `r1` and so on, with one password, behind a jump host.
fn routers(count: usize) -> Vec<Router> {
    let entry = |n| {
        format!(
            "[[router]]\nname = \"r{n:02}\"\naddress = \"192.0.2.1\"\nuser = \"a\"\npassword_file = \"/p\"\nvia = \"bastion\"\n"
        )
    };
    let text: String = (0..count).map(entry).collect();
    let jump =
        "[[jump_host]]\nname = \"bastion\"\naddress = \"192.0.2.2\"\nuser = \"b\"\nagent = true\n";
    Config::parse(&format!("archive = \"/x\"\n{text}{jump}")).unwrap().routers
}

fn login(router: &Router, is_refused: bool) -> SharedFault {
    let by = SharedCause::Login(Credential::of(router));
    SharedFault { is_refused, ..SharedFault::new(by, "login refused", "login refused".into()) }
}

struct Fixture {
    faults: SharedFaults,
    routers: Vec<Arc<Router>>,
    now: Instant,
}

impl Fixture {
    fn new(count: usize) -> Fixture {
        let routers = routers(count);
        let mut faults = SharedFaults::default();
        faults.set_routers(&routers);
        Fixture {
            faults,
            routers: routers.into_iter().map(Arc::new).collect(),
            now: Instant::now(),
        }
    }

    fn refuse(&mut self, numbers: std::ops::Range<usize>) {
        for router in &self.routers[numbers] {
            self.faults.begin(router, login(router, true), self.now);
        }
    }

    fn due_after(&mut self, seconds: u64) -> Vec<SharedReport> {
        self.now += Duration::from_secs(seconds);
        self.faults.due(self.now)
    }

    fn end(&mut self, number: usize) -> Vec<SharedReport> {
        self.faults.end(&self.routers[number].name, |_| true, self.now);
        self.faults.due(self.now)
    }
}

#[test]
fn one_report_for_all_and_one_when_it_is_over() {
    let mut one = Fixture::new(20);
    one.refuse(0..3);
    assert_eq!(one.due_after(1), []);
    for router in &one.routers[3..] {
        let joined = one.faults.begin(router, login(router, false), one.now);
        assert_eq!(joined, Joined::Further);
    }
    let reports = one.due_after(5);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].subject, "20 routers: login refused");
    assert_eq!(
        reports[0].text,
        "user a, password_file /p\n\nlogin refused\n\
         Not followed: 20 routers: r00, r01, r02, r03, r04, r05, r06, r07, r08, r09 and 10 more.\n\
         The login was refused by 3 routers: r00, r01, r02. It is not tried on the others, because servers lock accounts.\n"
    );
    assert_eq!(one.due_after(100_000), []);
    for n in 0..19 {
        assert_eq!(one.end(n), []);
    }
    let over = one.end(19);
    assert_eq!(over.len(), 1);
    assert_eq!(over[0].subject, "20 routers: login accepted again");
}

/// Further ones are reported at once if they are many, and after an hour if they are few.
#[test]
fn further_routers() {
    let mut one = Fixture::new(20);
    one.refuse(0..2);
    assert_eq!(one.due_after(5).len(), 1);
    one.refuse(2..3);
    assert_eq!(one.due_after(60), []);
    assert_eq!(one.due_after(3600)[0].subject, "3 routers: login refused");
    one.refuse(3..6);
    assert_eq!(one.due_after(5)[0].subject, "6 routers: login refused");
    // One that was accepted in between is news again.
    assert_eq!(one.end(5), []);
    one.refuse(5..6);
    assert_eq!(one.due_after(3600).len(), 1);
}

#[test]
fn a_router_alone_has_its_own_report() {
    let mut one = Fixture::new(1);
    one.refuse(0..1);
    let reports = one.due_after(0);
    assert_eq!(
        (reports[0].subject.as_str(), reports[0].text.as_str()),
        ("r00: login refused", "r00 (192.0.2.1:22)\n\nlogin refused\n")
    );
    assert_eq!(one.end(0)[0].subject, "r00: login accepted again");
}

#[test]
fn receivers_get_their_routers() {
    let mut one = Fixture::new(3);
    let mut special = (*one.routers[2]).clone();
    special.mail_to = Some(vec!["x@example.org".into()]);
    one.routers[2] = Arc::new(special);
    one.refuse(0..3);
    let reports = one.due_after(5);
    let subjects: Vec<_> = reports.iter().map(|one| (one.to.is_some(), &*one.subject)).collect();
    assert_eq!(subjects, [(false, "2 routers: login refused"), (true, "r02: login refused")]);
}

/// A router that fails by another cause leaves the first one, which is reported as over when it is; one that is gone, too.
#[test]
fn another_cause() {
    let mut one = Fixture::new(2);
    one.refuse(0..2);
    assert_eq!(one.due_after(5).len(), 1);
    let by = SharedCause::Jump(one.routers[0].jump.as_ref().unwrap().name.clone());
    for router in &one.routers {
        let fault = SharedFault::new(by.clone(), "jump host fails", "jump host bastion".into());
        let after = Duration::from_secs(120);
        one.faults.begin(router, SharedFault { after, ..fault }, one.now);
    }
    assert_eq!(one.due_after(119), []);
    let reports = one.due_after(1);
    assert_eq!(reports[0].subject, "bastion: jump host fails");
    assert_eq!(reports[0].text, "jump host bastion\nNot followed: 2 routers: r00, r01.\n");
    let left = one.routers[..1].iter().map(|router| (**router).clone()).collect::<Vec<_>>();
    one.faults.set_routers(&left);
    assert_eq!(one.end(1), []);
    assert_eq!(
        subjects(&one.end(0)),
        ["r00: login accepted again", "bastion: jump host works again"]
    );
    assert!(one.faults.states.is_empty());
}

fn subjects(reports: &[SharedReport]) -> Vec<&str> {
    reports.iter().map(|report| &*report.subject).collect()
}

/// A login that was reported as refused, a jump host that fails for a moment, which is not reported, and the login is accepted.
#[test]
fn another_cause_for_a_moment() {
    let mut one = Fixture::new(1);
    let by = SharedCause::Jump(one.routers[0].jump.as_ref().unwrap().name.clone());
    let jump = SharedFault::new(by, "jump host fails", "jump host bastion".into());
    let jump = SharedFault { after: Duration::from_secs(120), ..jump };
    for is_refused_again in [false, true] {
        one.refuse(0..1);
        assert_eq!(subjects(&one.due_after(5)), ["r00: login refused"]);
        one.faults.begin(&one.routers[0], jump.clone(), one.now);
        assert_eq!(one.due_after(10), []);
        if is_refused_again {
            one.refuse(0..1);
            assert_eq!(one.due_after(100_000), [], "it is no news");
        }
        assert_eq!(subjects(&one.end(0)), ["r00: login accepted again"]);
        assert!(one.faults.states.is_empty());
    }
}

/// The end is reported for those that are followed again, also if one is left, or removed.
#[test]
fn some_are_left() {
    let mut one = Fixture::new(6);
    one.refuse(0..6);
    assert_eq!(one.due_after(5).len(), 1);
    for n in 0..4 {
        assert_eq!(one.end(n), []);
        assert_eq!(one.due_after(20), []);
    }
    assert_eq!(one.due_after(10)[0].subject, "4 routers: login accepted again");
    assert_eq!(one.due_after(100_000), []);
    assert_eq!(one.end(4), []);
    let left: Vec<_> = one.routers[..5].iter().map(|router| (**router).clone()).collect();
    one.faults.set_routers(&left);
    assert_eq!(one.due_after(0)[0].subject, "r04: login accepted again");
    assert!(one.faults.states.is_empty());
}

/// Each list of receivers has its own reports.
#[test]
fn receivers_that_join_later() {
    let mut one = Fixture::new(6);
    for router in &mut one.routers[4..] {
        let mut special = (**router).clone();
        special.mail_to = Some(vec!["x@example.org".into()]);
        *router = Arc::new(special);
    }
    one.refuse(0..4);
    assert_eq!(one.due_after(5).len(), 1);
    one.refuse(4..5);
    assert_eq!(one.due_after(5)[0].subject, "r04: login refused");
    // The router that is left is one of the others.
    let over = one.end(4);
    assert_eq!((over.len(), &*over[0].subject), (1, "r04: login accepted again"));
}

/// A router that waits for the others is reported in time, though they were reported before.
#[test]
fn one_that_waits_is_reported() {
    let mut one = Fixture::new(20);
    one.refuse(0..10);
    assert_eq!(one.due_after(5).len(), 1);
    let fault = login(&one.routers[10], false);
    let fault = SharedFault { at_the_latest: Duration::from_secs(120), ..fault };
    one.faults.begin(&one.routers[10], fault, one.now);
    assert_eq!(one.due_after(119), []);
    assert_eq!(one.due_after(1)[0].subject, "11 routers: login refused");
}

/// Those that did not refuse it themselves are named as not tried to their receivers.
#[test]
fn receivers_whose_routers_are_not_tried() {
    let mut one = Fixture::new(5);
    for router in &mut one.routers[3..] {
        let mut special = (**router).clone();
        special.mail_to = Some(vec!["x@example.org".into()]);
        *router = Arc::new(special);
    }
    one.refuse(0..3);
    for router in &one.routers[3..] {
        one.faults.begin(router, login(router, false), one.now);
    }
    let reports = one.due_after(5);
    assert_eq!(reports[0].subject, "3 routers: login refused");
    assert_eq!(
        (reports[1].subject.as_str(), reports[1].text.as_str()),
        (
            "2 routers: login not tried",
            "user a, password_file /p\n\nlogin refused\nNot followed: 2 routers: r03, r04.\n\
             The login was refused by other routers. It is not tried here, because servers lock accounts.\n"
        )
    );
    assert_eq!(
        reports[0].line,
        "3 routers: login refused: login refused; Not followed: 3 routers: r00, r01, r02."
    );
}

/// Routers without a jump host, whose order is not that of their names.
fn own(count: usize) -> Fixture {
    let entry = |n: usize| {
        format!(
            "[[router]]\nname = \"r{n}\"\naddress = \"192.0.2.{n}\"\nuser = \"a\"\npassword_file = \"/p\"\n"
        )
    };
    let text: String = (0..count).map(entry).collect();
    let routers = Config::parse(&format!("archive = \"/x\"\n{text}")).unwrap().routers;
    let mut faults = SharedFaults::default();
    faults.set_routers(&routers);
    Fixture { faults, routers: routers.into_iter().map(Arc::new).collect(), now: Instant::now() }
}

impl Fixture {
    fn lose(&mut self, numbers: std::ops::Range<usize>) {
        for router in &self.routers[numbers] {
            let (why, after) = (format!("{} is off", router.name), Duration::from_secs(120));
            self.faults.begin(router, SharedFault::own(UNREACHABLE, why, after), self.now);
        }
    }
}

/// An outage of all is one report with each reason, at the time of the first one, and one when it is over.
#[test]
fn all_are_gone() {
    let mut one = own(12);
    one.lose(0..7);
    assert_eq!(one.due_after(30), []);
    one.lose(7..12);
    assert_eq!(one.due_after(89), []);
    let reports = one.due_after(1);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].subject, "all 12 routers: unreachable");
    let text = &reports[0].text;
    assert!(
        text.starts_with("at the same time:\n\nr0 (192.0.2.0:22): r0 is off\nr1 (192"),
        "{text}"
    );
    assert!(text.contains("\nr9 (192.0.2.9:22): r9 is off\nand 2 more (aw-routeros show)\n\nno router can be reached: "), "{text}");
    assert_eq!(one.due_after(100_000), []);
    for n in 0..11 {
        assert_eq!(one.end(n), []);
    }
    let over = one.end(11);
    assert_eq!(over[0].subject, "12 routers: connected again");
    let names = "connected again: 12 routers: r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 and 2 more";
    assert_eq!(over[0].line, names);
    assert!(one.faults.states.is_empty());
}

/// One that is gone for long delays the report of no other, and is not reported with them again. What is over in time is
/// not reported at all.
#[test]
fn one_after_the_other() {
    let mut one = own(5);
    one.lose(0..1);
    assert_eq!(one.due_after(119), []);
    let reports = one.due_after(1);
    assert_eq!(
        (reports[0].subject.as_str(), reports[0].text.as_str()),
        ("r0: unreachable", "r0 (192.0.2.0:22)\n\nr0 is off\n")
    );
    one.lose(1..2);
    assert_eq!(one.due_after(100), []);
    one.lose(2..4);
    assert_eq!(one.due_after(20)[0].subject, "r1: unreachable");
    assert_eq!(one.end(2), []);
    assert_eq!(one.due_after(100)[0].subject, "r3: unreachable");
    // Back for a moment only: no news.
    assert_eq!(one.end(3), []);
    one.lose(3..4);
    assert_eq!(one.due_after(100_000), []);
    assert_eq!(one.end(0), []);
    assert_eq!(one.due_after(30)[0].subject, "r0: connected again");
}

/// Another host key after a changed one is news.
#[test]
fn another_host_key() {
    let mut one = own(2);
    let change = |one: &mut Fixture, why: &str, is_news| {
        let fault = SharedFault::own(HOST_KEY_CHANGED, why.into(), Duration::ZERO);
        one.faults.begin(&one.routers[0], SharedFault { is_news, ..fault }, one.now);
        one.due_after(5)
    };
    assert_eq!(change(&mut one, "a", true)[0].subject, "r0: HOST KEY CHANGED");
    assert_eq!(change(&mut one, "a", false), []);
    assert!(change(&mut one, "b", true)[0].text.ends_with("\n\nb\n"));
    assert_eq!(one.end(0)[0].subject, "r0: host key right again");
}
