//! Lines of alerts on standard output (`--print`), each of them once.

use std::io::Write;

use aw_output::{Error, SinkResult};

/// Prints before the commit: a kill between the two prints a line twice, and never none.
#[derive(Default)]
pub struct Printer {
    pub lines: Vec<String>,
    /// Printed but not committed: their events are read again, and their lines are not printed again.
    printed: Vec<String>,
}

impl Printer {
    pub fn print(&mut self) -> SinkResult {
        let same = |(new, old): &(&String, &String)| new == old;
        let again = self.lines.iter().zip(&self.printed).take_while(same).count();
        let mut out = std::io::stdout().lock();
        let mut new = self.lines[again..].iter();
        let printed = new.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        printed.map_err(|error| Error::write("standard output", error))?;
        if again < self.lines.len() {
            self.printed.clone_from(&self.lines);
        }
        Ok(())
    }

    pub fn committed(&mut self) {
        self.printed.drain(..self.lines.len().min(self.printed.len()));
        self.lines.clear();
    }
}
