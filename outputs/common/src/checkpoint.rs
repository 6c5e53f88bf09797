//! What became of a ring's stream, in numbers that always add up.

use shm_layout::{Event, Position};

/// What one output did with the stream of one ring: every event from `began` to before `next()` is
/// in exactly one of the three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The stream.
    pub generation: u64,
    /// The event that this account begins with.
    pub began: u64,
    /// Events that the sink confirmed.
    pub delivered: u64,
    /// Events that the collector overwrote before they were read.
    pub lost: u64,
    /// Events of kinds that this release does not know.
    pub skipped: u64,
}

impl Account {
    /// An account that begins with this event.
    pub fn begin(at: Position) -> Account {
        let Position { generation, sequence } = at;
        Account { generation, began: sequence, delivered: 0, lost: 0, skipped: 0 }
    }

    /// The number of the next event to deliver.
    pub fn next(&self) -> u64 {
        self.began + self.delivered + self.lost + self.skipped
    }

    /// As databases keep it, whose numbers have a sign.
    pub fn columns(&self) -> [i64; 5] {
        let Account { generation, began, delivered, lost, skipped } = *self;
        [generation, began, delivered, lost, skipped].map(|number| number as i64)
    }

    /// From [`Account::columns`]. None if they are no account: somebody else wrote them.
    pub fn from_columns(columns: [i64; 5]) -> Option<Account> {
        let [generation, began, delivered, lost, skipped] = columns.map(|number| number as u64);
        let sum = [delivered, lost, skipped].into_iter().try_fold(began, u64::checked_add);
        sum.map(|_| Account { generation, began, delivered, lost, skipped })
    }

    /// Where to go on.
    pub fn position(&self) -> Position {
        Position { generation: self.generation, sequence: self.next() }
    }

    /// Whether this piece, and so all before it, is in it already.
    pub(crate) fn has(&self, piece: &Piece) -> bool {
        piece.at.generation == self.generation && piece.end() <= self.next()
    }

    /// The account of an output that had this one, if any, once the piece is dealt with.
    pub(crate) fn after(before: Option<Account>, piece: &Piece) -> Account {
        let begin = |sequence| Account::begin(Position { sequence, ..piece.at });
        let mut account = match before {
            _ if piece.what == What::Restart => return begin(piece.at.sequence),
            Some(account) if account.generation == piece.at.generation => account,
            Some(_) => begin(0), // another stream, all of which was to be read
            None => begin(piece.at.sequence),
        };
        account.lost += piece.at.sequence.saturating_sub(account.next()); // nobody can say more
        let new = piece.end().saturating_sub(account.next()); // 0: it is in it already
        match piece.what {
            What::Start | What::Restart => {}
            What::Event(_) => account.delivered += new,
            What::Lost(_) => account.lost += new,
            What::Skipped => account.skipped += new,
        }
        account
    }
}

/// A piece of a stream, as read from a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub at: Position,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// From here on, if nothing is known from before.
    Start,
    /// From here on, whatever was before.
    Restart,
    Event(Event),
    /// So many events, overwritten before they were read.
    Lost(u64),
    /// An event of a kind that this release does not know.
    Skipped,
}

impl Piece {
    /// The number of the event after it.
    pub fn end(&self) -> u64 {
        self.at.sequence.saturating_add(match self.what {
            What::Start | What::Restart => 0,
            What::Event(_) | What::Skipped => 1,
            What::Lost(number) => number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(generation: u64, sequence: u64, what: What) -> Piece {
        Piece { at: Position { generation, sequence }, what }
    }

    #[test]
    fn it_adds_up() {
        let mut account = None;
        for (piece, [began, delivered, lost, skipped]) in [
            (piece(1, 10, What::Start), [10, 0, 0, 0]),
            (piece(1, 10, What::Skipped), [10, 0, 0, 1]),
            (piece(1, 11, What::Lost(5)), [10, 0, 5, 1]),
            (piece(1, 16, event()), [10, 1, 5, 1]),
            // Once more, after a crash: it is in it already.
            (piece(1, 11, What::Lost(5)), [10, 1, 5, 1]),
            (piece(1, 16, event()), [10, 1, 5, 1]),
            // Lost from before what was delivered: only the rest counts.
            (piece(1, 12, What::Lost(10)), [10, 1, 10, 1]),
            // Something is missing, and nobody can say more.
            (piece(1, 30, event()), [10, 2, 18, 1]),
            // Another stream, from its first event on.
            (piece(2, 0, What::Lost(3)), [0, 0, 3, 0]),
            (piece(2, 3, event()), [0, 1, 3, 0]),
            (piece(2, 1, What::Start), [0, 1, 3, 0]),
            (piece(2, 6, What::Start), [0, 1, 5, 0]),
            (piece(2, 1, What::Restart), [1, 0, 0, 0]),
        ] {
            let now = Account::after(account, &piece);
            let expected = Account { generation: now.generation, began, delivered, lost, skipped };
            assert_eq!(now, expected, "{piece:?}");
            assert!(now.has(&piece));
            account = Some(now);
        }
        assert_eq!(Account::after(None, &piece(3, 7, event())).began, 7);
    }

    #[test]
    fn columns_of_others_are_no_account() {
        let account = Account { generation: u64::MAX, began: 1, delivered: 2, lost: 3, skipped: 4 };
        assert_eq!(Account::from_columns(account.columns()), Some(account));
        for columns in [[7, 0, -1, -1, 0], [7, -1, 0, 0, 1], [7, 1, i64::MIN, i64::MIN, 0]] {
            assert_eq!(Account::from_columns(columns), None, "{columns:?}");
        }
    }

    fn event() -> What {
        What::Event(Event::from_bytes(&crate::spool::tests::EVENT).unwrap())
    }
}
