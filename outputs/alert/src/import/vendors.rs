//! Lists of makers: of arpwatch, Wireshark, nmap and the IEEE; see [`aw_output::makers`].

use aw_output::makers::{self, MakerLine};

use super::{
    formats::{Context, Line},
    imported::{Imported, clean},
};

/// `prefix maker`, in all notations of a prefix.
pub fn prefix_line(line: &str, _: &Context, imported: &mut Imported) -> Line {
    add(makers::prefix_line(line), imported)
}

/// `Registry,Assignment,Organization Name,Organization Address`.
pub fn oui_csv(line: &str, _: &Context, imported: &mut Imported) -> Line {
    add(makers::csv_line(line), imported)
}

fn add(line: MakerLine, imported: &mut Imported) -> Line {
    match line {
        MakerLine::Bad => Line::Bad,
        MakerLine::Nothing => Line::Nothing,
        MakerLine::Maker(block, maker) => {
            let Some(maker) = clean(&maker) else { return Line::Nothing };
            imported.vendors.entry(block).or_insert(maker); // as in arpwatch, the first one counts
            Line::Data
        }
    }
}
