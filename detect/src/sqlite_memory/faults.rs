//! The states of faults, so that a restart repeats no report.

use aw_output::{FaultState, Faults, SinkResult};
use rusqlite::Row;

use super::SqliteMemory;

impl SqliteMemory {
    /// The faults whose states are stored, in the table `fault` of the program.
    pub fn faults(&mut self) -> SinkResult<Faults> {
        let faults = self.with(|database| {
            let mut select = database.prepare_cached("SELECT name, state FROM fault")?;
            let fault = |row: &Row| {
                let (name, state) = (row.get(0)?, row.get::<_, String>(1)?);
                Ok((name, serde_json::from_str::<FaultState>(&state).unwrap_or_default()))
            };
            select.query_map([], fault)?.collect()
        });
        faults.map(Faults::new)
    }

    /// Stores the states that have changed.
    pub fn store_faults(&mut self, faults: &mut Faults) -> SinkResult {
        let (changed, removed) = (faults.take_changed(), faults.take_removed());
        if changed.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.with(|database| {
            let mut delete = database.prepare_cached("DELETE FROM fault WHERE name = ?")?;
            removed.iter().try_for_each(|name| delete.execute([name]).map(drop))?;
            let mut replace = database.prepare_cached("REPLACE INTO fault VALUES (?, ?)")?;
            changed.iter().try_for_each(|(name, fault)| {
                let state = serde_json::to_string(fault).unwrap_or_default();
                replace.execute([name, &state]).map(drop)
            })
        })
    }
}
