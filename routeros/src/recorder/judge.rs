//! Decides whether an export is accepted, or a second one must confirm it.

use std::{collections::BTreeMap, sync::Mutex};

use super::lock;
use crate::{
    config::RouterName,
    config_export::{Completed, Export, ExportFault, Loss, complete, confirms, list, parse},
};

/// After so many pairs of exports that differ, the first configuration of a router is stored without confirmation: some
/// configurations change between any two exports.
const MAX_PAIRS: u32 = 3;

pub enum Judgement {
    Accepted(Box<Completed>),
    /// The same, but only because no two exports are equal: this is the first configuration, and it may be cut.
    AcceptedUnconfirmed(Box<Completed>),
    /// A second export must confirm this one, which lost something of the base, or is the first one.
    Unconfirmed {
        loss: Option<String>,
        export: Export,
    },
}

/// Counts pairs of exports that differ, for each router.
#[derive(Default)]
pub struct Judge {
    pairs: Mutex<BTreeMap<RouterName, u32>>,
}

impl Judge {
    /// Judges an export. `first` is the export before, if this one is to confirm it.
    pub fn judge(
        &self,
        router: &RouterName,
        bytes: &[u8],
        base: Option<Export>,
        first: Option<Export>,
    ) -> Result<Judgement, ExportFault> {
        let export = parse(bytes)?;
        let judgement = match (base, first) {
            (None, None) => return Ok(Judgement::Unconfirmed { loss: None, export }),
            (None, Some(first)) => {
                let completed = complete(bytes, export, first);
                let (first, second) = (&completed.base, &completed.export);
                if first.lines == second.lines {
                    Judgement::Accepted(Box::new(completed))
                } else {
                    let is_shorter = second.lines.len() < first.lines.len();
                    if self.count_pair(router) < MAX_PAIRS || is_shorter {
                        return Err(unstable(0, first, second));
                    }
                    Judgement::AcceptedUnconfirmed(Box::new(completed))
                }
            }
            (Some(base), first) => {
                let completed = complete(bytes, export, base);
                let (base, export) = (&completed.base, &completed.export);
                match (loss(&completed), &first) {
                    (Some(loss), None) => {
                        let export = completed.export;
                        return Ok(Judgement::Unconfirmed { loss: Some(loss), export });
                    }
                    (Some(_), Some(first)) if !confirms(base, first, export) => {
                        return Err(unstable(base.lines.len(), first, export));
                    }
                    _ => Judgement::Accepted(Box::new(completed)),
                }
            }
        };
        lock(&self.pairs).remove(router);
        Ok(judgement)
    }

    fn count_pair(&self, router: &RouterName) -> u32 {
        let mut pairs = lock(&self.pairs);
        let count = pairs.entry(router.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

/// What must be confirmed. The mark of a section that always failed is missing in a cut export too.
fn loss(completed: &Completed) -> Option<String> {
    let lost = Loss::between(&completed.base, &completed.export).map(|loss| loss.to_string());
    let exported = || format!("the router exports {} for the first time", list(&completed.new));
    lost.or_else(|| (!completed.new.is_empty()).then(exported))
}

fn unstable(base: usize, first: &Export, second: &Export) -> ExportFault {
    ExportFault::Unstable { lines: [base, first.lines.len(), second.lines.len()] }
}
