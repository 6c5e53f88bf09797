use jiff::Timestamp;

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

fn address(router: &Router) -> String {
    router.address.to_string()
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
        faults.set_routers(&routers, Instant::now());
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
         Not followed: 20 routers: r00, r01, r02, r03, r04, r05, r06, r07, r08, r09, r10, r11, r12, r13, r14, r15, r16, r17, r18, r19.\n\
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
    one.faults.set_routers(&left, one.now);
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
    one.faults.set_routers(&left, one.now);
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
    faults.set_routers(&routers, Instant::now());
    Fixture { faults, routers: routers.into_iter().map(Arc::new).collect(), now: Instant::now() }
}

impl Fixture {
    fn lose(&mut self, numbers: std::ops::Range<usize>) {
        for router in &self.routers[numbers] {
            let (why, after) = (format!("{} is off", router.name), Duration::from_secs(120));
            self.faults.begin(
                router,
                SharedFault::unreachable(why, address(router), self.now, after),
                self.now,
            );
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
        text.starts_with(
            "no router can be reached: the network of this machine or its uplink may have failed (ip address; ip route; ping)\n\nat the same time:\n\nr0 (192.0.2.0:22): unreachable for 2 min 0 s: r0 is off\nr1 (192"
        ),
        "{text}"
    );
    let end = "\nr9 (192.0.2.9:22): unreachable for 1 min 30 s: r9 is off\nand 2 more (aw-routeros show has their reasons): r10, r11\n";
    assert!(text.ends_with(end), "{text}");
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

/// Receivers who get a report for the first time read that all routers are gone, and how many of them are theirs.
#[test]
fn all_are_gone_for_two_receivers() {
    let mut one = own(5);
    for n in 3..5 {
        let mail_to = Some(vec!["x@example.org".into()]);
        one.routers[n] = Arc::new(Router { mail_to, ..(*one.routers[n]).clone() });
    }
    one.lose(0..5);
    let reports = one.due_after(120);
    assert_eq!(subjects(&reports), ["all 5 routers: unreachable"; 2]);
    for (report, count) in reports.iter().zip([3, 2]) {
        let text = format!("\n\n{count} of the 5 routers are reported to you:\n\n");
        assert!(
            report.text.starts_with("no router can be") && report.text.contains(&text),
            "{}",
            report.text
        );
    }
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
        ("r0: unreachable", "r0 (192.0.2.0:22)\n\nunreachable for 2 min 0 s: r0 is off\n")
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

impl Fixture {
    /// A host key of router 0.
    fn key(&mut self, key: &str) -> Joined {
        let fault = SharedFault::own(OwnFault::ChangedKey, key, format!("key {key}"));
        self.faults.begin(&self.routers[0], fault, self.now)
    }

    /// Lost one after the other, with this time between them; the reports until all are.
    fn lose_slowly(&mut self, after: u64, gap: Duration, until: u64) -> Vec<(u64, SharedReport)> {
        let (start, mut reports, mut next) = (self.now, Vec::new(), 0);
        for second in 0..until {
            self.now = start + Duration::from_secs(second);
            while next < self.routers.len() && start + gap * next as u32 <= self.now {
                let after = Duration::from_secs(after);
                let fault = SharedFault::unreachable(
                    "it is off".into(),
                    address(&self.routers[next]),
                    self.now,
                    after,
                );
                self.faults.begin(&self.routers[next], fault, self.now);
                next += 1;
            }
            reports.extend(self.faults.due(self.now).into_iter().map(|report| (second, report)));
        }
        reports
    }

    fn restarted(&mut self) -> Fixture {
        let (instant, time) = (self.now, Timestamp::now());
        let before = Now { instant, time };
        let stored = serde_json::to_string(&self.faults.take_changed(before)).unwrap();
        let mut stored: BTreeMap<RouterName, Vec<ReportedFault>> =
            serde_json::from_str(&stored).unwrap();
        let (routers, now) = (self.routers.clone(), self.now);
        let mut faults = SharedFaults::default();
        faults.set_routers(
            &routers.iter().map(|router| (**router).clone()).collect::<Vec<_>>(),
            Instant::now(),
        );
        for router in &routers {
            faults.restore(router, stored.remove(&router.name).unwrap_or_default(), before);
        }
        Fixture { faults, routers, now }
    }
}

/// Another host key after a changed one is news, also if there was another cause in between.
#[test]
fn another_host_key() {
    let mut one = own(2);
    assert_eq!(one.key("a"), Joined::First);
    assert_eq!(subjects(&one.due_after(5)), ["r0: HOST KEY CHANGED"]);
    assert_eq!((one.key("a"), one.due_after(5)), (Joined::Known, vec![]));
    assert_eq!(one.key("b"), Joined::Further);
    assert!(one.due_after(5)[0].text.ends_with("\n\nkey b\n"));
    one.refuse(0..1);
    assert_eq!(one.due_after(5).len(), 1);
    assert_eq!((one.key("a"), one.due_after(5)), (Joined::Known, vec![]));
    one.refuse(0..1);
    one.due_after(5);
    assert_ne!(one.key("c"), Joined::Known);
    assert!(one.due_after(5)[0].text.ends_with("\n\nkey c\n"));
    assert_eq!(
        subjects(&one.end(0)),
        ["r0: login accepted again", "r0: shows its earlier host key again"]
    );
    assert!(one.faults.states.is_empty());
}

/// Who reads the end must know whether the router is the one of before, or its new key was accepted.
#[test]
fn a_new_host_key_that_was_accepted() {
    let [old, new] = ["a", "b"].map(|letter| format!("SHA256:{}", letter.repeat(42) + "A"));
    for (pinned, expected) in [
        (&old, "r0: shows its earlier host key again"),
        (&new, "r0: new host key is in the configuration now"),
    ] {
        let mut one = own(2);
        one.key(&format!("ITS HOST KEY HAS CHANGED: expected {old}, got {new} (if it is right)"));
        one.due_after(5);
        let mut routers: Vec<_> = one.routers.iter().map(|router| (**router).clone()).collect();
        routers[0].host_key = serde_json::from_value(pinned.as_str().into()).unwrap();
        one.faults.set_routers(&routers, one.now);
        assert_eq!(subjects(&one.end(0)), [expected]);
    }
}

/// One that is another one at each connection is not mailed each time.
#[test]
fn many_host_keys() {
    let mut one = own(2);
    let mut mails = 0;
    for n in 0..6 * 24 * 3 {
        one.key(&n.to_string());
        mails += one.due_after(600).len();
    }
    assert_eq!(mails, 8 + 2);
    assert_eq!(subjects(&one.end(0)), ["r0: shows its earlier host key again"]);
}

/// A silent cut is noticed by keepalives, one router after the other: one report, also with a short time.
#[test]
fn an_outage_that_is_noticed_slowly() {
    for (after, spread, until) in [(120, 20, 130), (120, 90, 160), (10, 30, 40)] {
        let gap = Duration::from_millis(spread * 10);
        let reports = own(100).lose_slowly(after, gap, 400);
        let subjects: Vec<_> = reports.iter().map(|(_, report)| &*report.subject).collect();
        assert_eq!(subjects, ["all 100 routers: unreachable"], "after {after}, spread {spread}");
        assert!((after..=until).contains(&reports[0].0), "at {}", reports[0].0);
        assert_eq!(reports[0].1.of_each.len(), 100);
    }
    // It lasts longer than a report waits: the last one says so.
    let reports = own(100).lose_slowly(10, Duration::from_secs(1), 400);
    let (last, first) = (&reports.last().unwrap().1, &reports[0].1);
    assert_eq!(first.subject, "66 routers: unreachable", "a minute after the first one");
    assert!(last.subject.ends_with("more routers, now all 100: unreachable"), "{}", last.subject);
    assert!(
        !last.text.contains("are reported to you"),
        "all are, the others before: {}",
        last.text
    );
    assert!(last.text.contains("no router can be reached"), "{}", last.text);
}

/// Routers behind a jump host that are not reached show that the network of this machine works.
#[test]
fn an_outage_with_jump_hosts() {
    let mixed = |direct: usize| {
        let (mut routers, behind) = (own(direct).routers, Fixture::new(3).routers);
        routers.extend(behind);
        let mut faults = SharedFaults::default();
        faults.set_routers(
            &routers.iter().map(|one| (**one).clone()).collect::<Vec<_>>(),
            Instant::now(),
        );
        Fixture { faults, routers, now: Instant::now() }
    };
    // Two direct ones work.
    let mut one = mixed(2);
    one.lose(2..4);
    let report = &one.due_after(120)[0];
    assert_eq!(report.subject, "2 routers: unreachable");
    assert!(!report.text.contains("no router can be reached"), "{}", report.text);
    one.lose(0..2);
    assert!(!one.due_after(120)[0].text.contains("no router can be reached"));
    // The jump host is not reached either.
    let mut one = mixed(2);
    one.lose(0..2);
    let by = SharedCause::Jump(one.routers[2].jump.as_ref().unwrap().name.clone());
    for router in &one.routers[2..] {
        let fault = SharedFault::new(by.clone(), "jump host fails", "jump host bastion".into());
        one.faults.begin(router, fault, one.now);
    }
    assert_eq!(subjects(&one.due_after(5)), ["bastion: jump host fails"]);
    let report = &one.due_after(115)[0];
    assert_eq!(report.subject, "2 routers: unreachable");
    assert!(report.text.contains("no router can be reached"), "{}", report.text);
}

/// Routers behind one jump host are gathered too.
#[test]
fn own_faults_behind_a_jump_host() {
    let mut one = Fixture::new(20);
    for n in 0..20 {
        let fault = SharedFault::own(OwnFault::UnknownKey, "a", "a".into());
        one.faults.begin(&one.routers[n], fault, one.now);
        assert_eq!(one.due_after(u64::from(n % 5 == 0)), []);
    }
    assert_eq!(subjects(&one.due_after(5)), ["all 20 routers: host key unknown"]);
}

/// Exports that fail on many routers are a few reports; each kind is news. Their end is separate from that of connections.
#[test]
fn exports_of_many_routers() {
    let mut one = own(200);
    let fail = |one: &mut Fixture, n: usize, kind: &str| {
        let fault = SharedFault::own(OwnFault::Exports, kind, format!("{kind} fails"));
        one.faults.begin(&one.routers[n], fault, one.now)
    };
    let mut mails = Vec::new();
    for n in 0..200 {
        assert_ne!(fail(&mut one, n, "fetch"), Joined::Known);
        mails.extend(one.due_after(7));
    }
    mails.extend(one.due_after(3600));
    assert!(mails.len() < 12, "{}", mails.len());
    assert_eq!(mails.last().unwrap().subject, "all 200 routers: exports fail");
    assert_eq!(fail(&mut one, 0, "fetch"), Joined::Known);
    assert_eq!(fail(&mut one, 0, "cut"), Joined::Further);
    let mut ends = 0;
    for n in 0..200 {
        one.faults.end(&one.routers[n].name, SharedCause::is_of_connection, one.now);
        assert!(one.faults.has(&one.routers[n].name, &SharedCause::Own(OwnFault::Exports)));
        one.faults.end(&one.routers[n].name, |_| true, one.now);
        ends += one.due_after(7).len();
    }
    assert!(ends < 4, "{ends}");
    assert!(one.faults.states.is_empty());
}

/// What was mailed is no news after a restart, and has its end.
#[test]
fn a_restart() {
    let mut one = own(3);
    one.key("a");
    one.due_after(5);
    one.refuse(0..2);
    one.lose(2..3);
    assert_eq!(subjects(&one.due_after(120)), ["2 routers: login refused", "r2: unreachable"]);
    let mut one = one.restarted();
    assert_eq!(one.due_after(100), []);
    one.refuse(1..2);
    assert_eq!((one.key("a"), one.due_after(5)), (Joined::Known, vec![]));
    assert!(one.faults.end(&one.routers[2].name, |_| true, one.now));
    assert_eq!(subjects(&one.due_after(0)), ["r2: connected again"]);
    assert_eq!(subjects(&one.end(0)), ["r0: shows its earlier host key again"]);
    assert_eq!(subjects(&one.end(1)), ["2 routers: login accepted again"]);
    assert!(one.faults.states.is_empty());
    let stored = one.faults.take_changed(Now { instant: one.now, time: Timestamp::now() });
    assert!(stored.len() == 3 && stored.values().all(Vec::is_empty), "{stored:?}");
}

/// A report goes to the receivers that the configuration names now.
#[test]
fn receivers_after_a_reload() {
    let mut one = own(2);
    one.lose(0..1);
    let mut other = (*one.routers[0]).clone();
    other.mail_to = Some(vec!["new@example.org".into()]);
    one.routers[0] = Arc::new(other);
    one.lose(0..1);
    assert_eq!(one.due_after(120)[0].to, Some(vec!["new@example.org".into()]));
}

/// An outage of a router that has another address now is another one: it waits for its time, and is reported again.
#[test]
fn another_address() {
    let mut one = own(2);
    one.lose(0..2);
    one.end(1);
    assert_eq!(subjects(&one.due_after(120)), ["r0: unreachable"]);
    one.lose(1..2);
    one.due_after(60);
    let elsewhere = |router: &Arc<Router>| {
        let address = crate::config::router_address("198.51.100.1").unwrap();
        Arc::new(Router { address, ..(**router).clone() })
    };
    one.routers = one.routers.iter().map(elsewhere).collect();
    let routers: Vec<_> = one.routers.iter().map(|router| (**router).clone()).collect();
    one.faults.set_routers(&routers, one.now);
    one.lose(0..2);
    assert_eq!(one.due_after(119), []);
    let report = &one.due_after(1)[0];
    assert_eq!(report.subject, "all 2 routers: unreachable");
    assert!(
        report.text.contains("r0 (198.51.100.1:22): unreachable for 2 min 0 s: "),
        "{}",
        report.text
    );
    assert!(
        report.text.contains("r1 (198.51.100.1:22): unreachable for 2 min 0 s: "),
        "{}",
        report.text
    );
    // The one that was mailed has its end at the new address, too.
    one.end(0);
    let [end, _] = one.end(1).remove(0).ends.try_into().unwrap();
    assert_eq!((&*end.router, end.lasted.as_secs()), ("r0 (198.51.100.1:22)", 120));
}

/// An outage goes on after a restart: it is reported when its time is over, as one report with the whole time, once all that were
/// gone are tried again, or a minute later.
#[test]
fn a_restart_before_the_report() {
    let since = Instant::now().checked_sub(Duration::from_secs(300)).unwrap();
    let lose = |one: &mut Fixture, n: usize| {
        let (router, after) = (one.routers[n].clone(), Duration::from_secs(120));
        let fault = SharedFault::unreachable("off".into(), address(&router), since, after);
        one.faults.begin(&router, fault, one.now);
    };
    let expected = |count: usize| {
        let mut one = own(count);
        for router in &one.routers {
            one.faults.expect_unreachable(&router.name);
        }
        one
    };
    let mut one = expected(20);
    for n in 0..18 {
        lose(&mut one, n);
        assert_eq!(one.due_after(1), []);
    }
    assert_eq!(one.end(18), [], "it is back");
    lose(&mut one, 19);
    let report = &one.due_after(5)[0];
    assert_eq!(report.subject, "19 routers: unreachable");
    assert!(report.text.contains("unreachable for 5 min 2"), "{}", report.text);
    assert_eq!(subjects(&one.end(0)), [""; 0]);
    let [end] = one.due_after(30).remove(0).ends.try_into().unwrap();
    assert_eq!((&*end.router, end.lasted.as_secs()), ("r0 (192.0.2.0:22)", 323));
    assert_eq!(one.now - end.at, Duration::from_secs(30), "the time of the end, not of the mail");
    // The second one is not tried for a long time.
    let mut one = expected(2);
    lose(&mut one, 0);
    assert_eq!(one.due_after(64), []);
    assert_eq!(subjects(&one.due_after(1)), ["r0: unreachable"]);
}

/// What is over when it is reported has no end and is stored nowhere, and another one is reported again.
#[test]
fn an_event() {
    let mut one = own(30);
    let damage = |one: &mut Fixture, n: usize| {
        let fault = SharedFault::own(OwnFault::Archive, "", "latest.rsc is damaged".into());
        one.faults.begin(&one.routers[n].clone(), fault, one.now);
    };
    (0..30).for_each(|n| damage(&mut one, n));
    assert_eq!(subjects(&one.due_after(5)), ["all 30 routers: archive damaged"]);
    assert!(one.faults.states.is_empty());
    let stored = one.faults.take_changed(Now { instant: one.now, time: Timestamp::now() });
    assert!(stored.len() == 30 && stored.values().all(Vec::is_empty), "{stored:?}");
    damage(&mut one, 0);
    assert_eq!(subjects(&one.due_after(5)), ["r0: archive damaged"]);
    // The process ends while it waits for others.
    damage(&mut one, 1);
    assert_eq!(one.due_after(0), []);
    assert_eq!(subjects(&one.faults.due_at_the_end(one.now)), ["r1: archive damaged"]);
}
