use super::rules::{Answer, Kind, MAX_CONNECTING, Place, Queue, Right, Rules, Step};
use super::*;

struct Fixture {
    rules: Rules,
    names: Vec<RouterName>,
    now: Instant,
}

const RETRY: Duration = Duration::from_secs(600);
const TURN: Right = Right { kind: Kind::New, is_probe: false };
const PROBE: Right = Right { kind: Kind::New, is_probe: true };
const TRUSTED: Right = Right { kind: Kind::Trusted, is_probe: false };

impl Fixture {
    fn new() -> Fixture {
        let names = (0..500).map(|n| format!("r{n:03}").try_into().unwrap()).collect();
        let mut rules = Rules::default();
        rules.set_retry(RETRY);
        Fixture { rules, names, now: Instant::now() }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn begin(&mut self, n: usize) -> Step {
        self.rules.begin(&self.names[n], self.now)
    }

    fn end(&mut self, n: usize, right: Right, answer: Answer) {
        self.rules.end((&self.names[n], right), answer, self.now);
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
    (0..3).for_each(|n| one.end(n, TURN, Answer::Refused));
    assert_eq!(one.begin(3), Step::Held);
    one.later(600);
    assert_eq!(one.begin(3), Step::Now(PROBE));
    // It is connected too, and waits for the answer.
    assert_eq!(one.begin(4), Step::Wait);
    // It was not reached: the next one at once. It did not answer: later.
    one.end(3, PROBE, Answer::NotTried);
    one.log_in(4, Answer::Late);
    assert_eq!(one.begin(5), Step::Held);
    one.later(600);
    one.log_in(5, Answer::Refused);
    one.later(1199);
    assert_eq!(one.begin(6), Step::Held);
    one.later(1);
    one.log_in(6, Answer::Accepted);
    assert_eq!(one.at_once(7..30), 4);
}

/// Logins without an answer may have been refused too late: three of them hold all, for a third of the pause. A router that never
/// answers counts once; a connection that ends does not.
#[test]
fn no_answer_to_a_login() {
    let mut one = Fixture::new();
    (20..30).for_each(|n| one.log_in(n, Answer::Cut));
    for n in 0..2 {
        one.log_in(n, Answer::Late);
        one.log_in(n, Answer::Late);
    }
    one.log_in(2, Answer::Late);
    assert_eq!(one.begin(3), Step::Held);
    assert_eq!(one.rules.late().count(), 3);
    one.later(199);
    assert_eq!(one.begin(3), Step::Held);
    one.later(1);
    one.log_in(3, Answer::Accepted);
    for n in 0..3 {
        one.log_in(n, Answer::Late);
    }
    assert!(matches!(one.begin(4), Step::Now(_)));
}

/// Each acceptance opens one more, so that their number doubles; refusals stop that, and hold all again.
#[test]
fn accepted_logins_open_more() {
    let mut one = Fixture::new();
    assert_eq!(one.at_once(0..30), 3);
    (0..3).for_each(|n| one.end(n, TURN, Answer::Accepted));
    assert_eq!(one.at_once(3..30), 6);
    (3..9).for_each(|n| one.end(n, TURN, Answer::Accepted));
    assert_eq!(one.at_once(9..30), 12);
    one.end(9, TURN, Answer::Refused);
    (10..20).for_each(|n| one.end(n, TURN, Answer::Cut));
    // One that runs, and one that refused.
    assert_eq!(one.at_once(21..30), 1);
    one.end(20, TURN, Answer::Refused);
    one.end(21, TURN, Answer::Refused);
    assert_eq!(one.begin(22), Step::Held);
}

/// Those that were accepted do not wait for others, until three of them refuse.
#[test]
fn trusted_routers() {
    let mut one = Fixture::new();
    (10..15).for_each(|n| one.log_in(n, Answer::Accepted));
    one.later(61);
    one.hold();
    assert_eq!(one.begin(10), Step::Now(TRUSTED));
    one.end(10, TRUSTED, Answer::Accepted);
    assert_eq!(one.begin(3), Step::Held);
    for n in 11..13 {
        one.log_in(n, Answer::Refused);
        assert_eq!(one.begin(n), Step::Held);
    }
    assert_eq!(one.begin(10), Step::Now(TRUSTED));
    one.end(10, TRUSTED, Answer::Accepted);
    one.log_in(13, Answer::Refused);
    assert_eq!(one.begin(10), Step::Held);
    one.later(600);
    one.log_in(3, Answer::Accepted);
    assert_eq!(one.begin(10), Step::Now(TRUSTED));
    one.end(10, TRUSTED, Answer::Accepted);
    // With another password none is trusted.
    one.hold_again();
    one.rules.set_secret(1);
    assert_eq!(one.begin(10), Step::Held);
}

/// The password of 500 routers was changed at the server that knows the users, and all connect again together.
#[test]
fn all_trusted_routers_refuse() {
    let mut one = Fixture::new();
    one.log_in_all(Answer::Accepted);
    one.later(61);
    assert_eq!(one.at_once(0..500), 3);
    (0..3).for_each(|n| one.end(n, TRUSTED, Answer::Refused));
    assert_eq!(one.at_once(0..500), 0, "trusted ones and others wait");
    // One tries for all, each time another one; the ninth has a user of its own.
    for n in 3..11 {
        one.later(3600);
        one.log_in(n, Answer::Refused);
        assert_eq!(one.at_once(0..500), 0);
    }
    one.later(3600);
    one.log_in(11, Answer::Accepted);
    // Three of those that did not refuse, and one that tries for those that did.
    let next = |one: &mut Fixture| {
        (0..500).find_map(|n| match one.begin(n) {
            Step::Now(right) => Some((n, right)),
            _ => None,
        })
    };
    let mut refused = 0;
    while let Some((n, right)) = next(&mut one) {
        one.end(n, right, Answer::Refused);
        refused += 1;
    }
    assert_eq!(refused, 4);
    assert_eq!(one.at_once(0..500), 0);
}

/// Many that refused, and one was accepted: they try one after the other, and the first that refuses holds them again.
#[test]
fn many_that_refused() {
    let mut one = Fixture::new();
    one.hold();
    for n in 3..8 {
        one.later(3600);
        one.log_in(n, Answer::Refused);
    }
    one.later(3600);
    one.log_in(20, Answer::Accepted);
    assert_eq!(one.at_once(0..8), 1);
    let refused = Right { kind: Kind::Refused, is_probe: true };
    one.end(0, refused, Answer::Accepted);
    one.log_in(1, Answer::Refused);
    assert_eq!(one.at_once(1..8), 0);
    // None of the others waits for them.
    assert_eq!(one.at_once(30..40), 5);
}

/// The shortest pause counts, and not that of a router that waits for a reload.
#[test]
fn pauses_of_several_routers() {
    let mut one = Fixture::new();
    one.rules = Rules::default();
    [0, 1200, 600].into_iter().for_each(|retry| one.rules.set_retry(Duration::from_secs(retry)));
    one.hold();
    one.later(599);
    assert_eq!(one.begin(3), Step::Held);
    one.later(1);
    one.log_in(3, Answer::Late);
    one.later(200);
    one.log_in(4, Answer::Refused);
    one.rules.reload(&BTreeSet::new());
    one.rules.set_retry(Duration::ZERO);
    one.hold();
    one.later(1_000_000);
    assert_eq!(one.begin(3), Step::Held, "all wait for a reload");
}

/// Some are connected to at the same time, so that one of them tries for all: those that are not there hold up few.
#[test]
fn routers_that_are_not_there() {
    let mut one = Fixture::new();
    one.hold();
    let places: Vec<_> =
        (0..200).map(|n| one.rules.queue(Queue::Connection, &one.names[n])).collect();
    let connect = |one: &mut Fixture| -> Vec<(usize, Place)> {
        let next = |n| {
            let place = one.rules.connect(&one.names[n], one.now)?;
            one.rules.leave(Queue::Connection, &places[n]);
            Some((n, place))
        };
        (0..200).filter_map(next).collect()
    };
    assert!(connect(&mut one).is_empty());
    one.later(600);
    let first = connect(&mut one);
    // Longest ago: those that had no turn yet.
    assert!(first.iter().map(|(n, _)| *n).eq(3..3 + MAX_CONNECTING));
    first.iter().for_each(|(_, place)| one.rules.connected(place, false, one.now));
    let next = connect(&mut one);
    assert_eq!(next.len(), MAX_CONNECTING);
    // A fast one waits for those whose turn is longer ago.
    assert_eq!(one.begin(next[1].0), Step::Wait);
    one.rules.connected(&next[0].1, false, one.now);
    assert_eq!(one.begin(next[1].0), Step::Now(PROBE));
    assert_eq!(one.begin(next[2].0), Step::Wait);
    one.end(next[1].0, PROBE, Answer::Refused);
    assert_eq!(one.begin(next[2].0), Step::Held);
}

impl Fixture {
    fn log_in_all(&mut self, answer: Answer) {
        (0..500).for_each(|n| self.log_in(n, answer));
    }

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
    let mut places: Vec<_> = (0..6).map(|n| one.rules.queue(Queue::Login, &one.names[n])).collect();
    let mut order = Vec::new();
    for _ in 0..9 {
        one.later(4000);
        let n = (0..6).find(|n| matches!(one.begin(*n), Step::Now(_))).unwrap();
        one.rules.leave(Queue::Login, &places[n]);
        one.end(n, PROBE, Answer::Refused);
        places[n] = one.rules.queue(Queue::Login, &one.names[n]);
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
    (3..8).for_each(|n| one.end(n, TURN, Answer::Refused));
    one.later(600);
    assert_eq!(one.begin(9), Step::Wait);
    one.end(8, TURN, Answer::Refused);
    assert_eq!(one.begin(9), Step::Now(PROBE));
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
