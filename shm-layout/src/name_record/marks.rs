//! What else is to be known of a record of names.

macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident = $bit:literal $name:literal)*) => {
        impl NameMarks {
            $($(#[$doc])* pub const $mark: NameMarks = NameMarks(1 << $bit);)*

            /// The marks' names in JSON.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let all = [$((NameMarks::$mark, $name)),*];
                all.into_iter().filter(move |(mark, _)| self.has(*mark)).map(|(_, name)| name)
            }
        }
    };
}

/// Marks of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameMarks(pub(crate) u32);

// The bits are part of the layout.
marks! {
    /// Records of this message were left out: it has more than are read.
    INCOMPLETE = 0 "incomplete"
    /// Options of this message were left out: their length or value is not right, or they came twice.
    BAD_OPTION = 1 "bad_option"
    /// The name was longer.
    NAME_CUT = 2 "name_cut"
    /// The second text was longer.
    DETAIL_CUT = 3 "detail_cut"
    /// The name is the one with a domain (options 81 and 39), not the host name (option 12).
    FULL_NAME = 4 "full_name"
    /// The name ended in `.local`.
    LOCAL = 5 "local"
    /// The MAC is from an option of the message, not the frame's source.
    MAC_OF_OPTION = 6 "mac_of_option"
    /// A text of this message is not UTF-8: what is not is replaced.
    BAD_TEXT = 7 "bad_text"
    /// The third text was longer.
    THIRD_CUT = 8 "third_cut"
    /// The circuit was longer.
    CIRCUIT_CUT = 9 "circuit_cut"
}

impl NameMarks {
    /// No mark.
    pub const NONE: NameMarks = NameMarks(0);

    /// Whether it has this mark.
    pub const fn has(self, mark: NameMarks) -> bool {
        self.0 & mark.0 != 0
    }

    /// Sets a mark.
    pub fn set(&mut self, mark: NameMarks) {
        self.0 |= mark.0;
    }

    /// Sets a mark if this holds.
    pub fn set_if(&mut self, holds: bool, mark: NameMarks) {
        if holds {
            self.set(mark);
        }
    }
}
