use super::rules::{Answer, Right, Rules, Step};
use super::*;

struct Fixture {
    rules: Rules,
    names: Vec<RouterName>,
    now: Instant,
}

const RETRY: Duration = Duration::from_secs(600);

impl Fixture {
    fn new() -> Fixture {
        let names = (0..30).map(|n| format!("r{n:02}").try_into().unwrap()).collect();
        Fixture { rules: Rules::default(), names, now: Instant::now() }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn begin(&mut self, n: usize) -> Step {
        self.rules.begin(&self.names[n], self.now)
    }

    fn end(&mut self, n: usize, right: Right, answer: Answer) {
        self.rules.end((&self.names[n], right), answer, RETRY, self.now);
    }

    /// A login with this answer.
    fn log_in(&mut self, n: usize, answer: Answer) {
        let step = self.begin(n);
        let Step::Now(right) = step else { panic!("{n}: {step:?}") };
        self.end(n, right, answer);
    }

    /// How many of these may log in at the same time.
    fn at_once(&mut self, numbers: std::ops::Range<usize>) -> usize {
        numbers.filter(|n| matches!(self.begin(*n), Step::Now(_))).count()
    }

    fn hold(&mut self) {
        (0..3).for_each(|n| self.log_in(n, Answer::Refused));
        assert_eq!(self.begin(3), Step::Held);
    }
}

#[test]
fn one_tries_for_all_after_three_refusals() {
    let mut one = Fixture::new();
    assert_eq!(one.at_once(0..9), 3);
    (0..3).for_each(|n| one.end(n, Right::Turn, Answer::Refused));
    assert_eq!(one.begin(3), Step::Held);
    one.later(600);
    assert_eq!(one.begin(3), Step::Now(Right::Probe));
    assert_eq!(one.begin(4), Step::Held);
    // It was not reached: the next one at once. It did not answer: later.
    one.end(3, Right::Probe, Answer::NotTried);
    one.log_in(4, Answer::Nothing);
    assert_eq!(one.begin(5), Step::Held);
    one.later(600);
    one.log_in(5, Answer::Refused);
    one.later(1199);
    assert_eq!(one.begin(6), Step::Held);
    one.later(1);
    one.log_in(6, Answer::Accepted);
    assert_eq!(one.at_once(7..30), 4);
}

/// Each acceptance opens one more, so that their number doubles; refusals stop that, and hold all again.
#[test]
fn accepted_logins_open_more() {
    let mut one = Fixture::new();
    assert_eq!(one.at_once(0..30), 3);
    (0..3).for_each(|n| one.end(n, Right::Turn, Answer::Accepted));
    assert_eq!(one.at_once(3..30), 6);
    (3..9).for_each(|n| one.end(n, Right::Turn, Answer::Accepted));
    assert_eq!(one.at_once(9..30), 12);
    one.end(9, Right::Turn, Answer::Refused);
    (10..20).for_each(|n| one.end(n, Right::Turn, Answer::Nothing));
    // One that runs, and one that refused.
    assert_eq!(one.at_once(21..30), 1);
    one.end(20, Right::Turn, Answer::Refused);
    one.end(21, Right::Turn, Answer::Refused);
    assert_eq!(one.begin(22), Step::Held);
}

/// Those that were accepted do not wait for others, once. Their refusals do not lengthen the hold, and do not end it.
#[test]
fn trusted_routers() {
    let mut one = Fixture::new();
    (10..14).for_each(|n| one.log_in(n, Answer::Accepted));
    one.later(61);
    one.hold();
    assert_eq!(one.begin(10), Step::Now(Right::Trusted));
    one.end(10, Right::Trusted, Answer::Accepted);
    assert_eq!(one.begin(3), Step::Held);
    for n in 11..14 {
        one.log_in(n, Answer::Refused);
        assert_eq!(one.begin(n), Step::Held);
    }
    assert_eq!(one.begin(10), Step::Now(Right::Trusted));
    one.later(600);
    one.log_in(3, Answer::Accepted);
    // With another password none is trusted.
    one.hold_again();
    one.rules.set_secret(1);
    assert_eq!(one.begin(10), Step::Held);
}

impl Fixture {
    fn hold_again(&mut self) {
        self.later(61);
        (20..23).for_each(|n| self.log_in(n, Answer::Refused));
        assert_eq!(self.begin(23), Step::Held);
    }
}

/// One that refuses does not take the turns of others.
#[test]
fn the_one_that_was_tried_longest_ago() {
    let mut one = Fixture::new();
    one.hold();
    let mut places: Vec<_> = (0..6).map(|n| one.rules.queue(&one.names[n])).collect();
    let mut order = Vec::new();
    for _ in 0..9 {
        one.later(4000);
        let n = (0..6).find(|n| matches!(one.begin(*n), Step::Now(_))).unwrap();
        one.rules.leave(&places[n]);
        one.end(n, Right::Probe, Answer::Refused);
        places[n] = one.rules.queue(&one.names[n]);
        order.push(n);
    }
    assert_eq!(order, [3, 4, 5, 0, 1, 2, 3, 4, 5]);
}

/// Logins that began before the hold do not lengthen it.
#[test]
fn logins_that_run_when_all_are_held() {
    let mut one = Fixture::new();
    (0..3).for_each(|n| one.log_in(n, Answer::Accepted));
    assert_eq!(one.at_once(3..30), 6);
    (3..8).for_each(|n| one.end(n, Right::Turn, Answer::Refused));
    one.later(600);
    assert_eq!(one.begin(9), Step::Held);
    one.end(8, Right::Turn, Answer::Refused);
    assert_eq!(one.begin(9), Step::Now(Right::Probe));
}

/// Routers that refuse alone hold up none, though they are tried again and again.
#[test]
fn some_routers_refuse() {
    let mut one = Fixture::new();
    for round in 0..3 {
        for n in 0..6 {
            let is_refused = n % 2 == 0 && (round > 0 || n < 4);
            one.log_in(n, if is_refused { Answer::Refused } else { Answer::Accepted });
        }
        one.later(601);
    }
    [0, 2, 4].into_iter().for_each(|n| one.log_in(n, Answer::Refused));
    one.log_in(7, Answer::Accepted);
}

#[test]
fn a_reload_lets_three_try() {
    let mut one = Fixture::new();
    one.hold();
    one.rules.reload(&BTreeSet::new());
    assert_eq!(one.at_once(0..30), 3);
}
