//! What an answer does not show, and the remark about it.

use aw_service::count_of;
use shm_layout::MacAddr;

use crate::left_out::{LeftOut, Why};

/// What an answer does not show.
#[derive(Clone, Debug, Default)]
pub struct Omitted {
    /// Probes, and answers and questions without a MAC, that count for no row.
    pub ignored: u64,
    /// Addresses that a MAC only probed, and others of which no sighting counts for it.
    pub probed: u64,
    pub asked: u64,
    /// Sightings that are left out, because the clock was not set.
    pub undated: u64,
    /// Claims in frames of another MAC, while a MAC claimed the address in frames of its own; and which MACs sent them.
    pub forged: u64,
    pub forgers: Vec<MacAddr>,
    /// Messages with a MAC that no host has, or in a form that hosts ignore; and which MACs sent them.
    pub no_pairing: u64,
    pub senders: Vec<MacAddr>,
    /// The MAC in question sent frames with claims of other MACs.
    pub has_sent: bool,
}

impl Omitted {
    pub fn add(&mut self, one: &LeftOut) {
        let (count, senders) = match one.why {
            Why::OtherFrame => (&mut self.forged, &mut self.forgers),
            why if why.is_no_pairing() => (&mut self.no_pairing, &mut self.senders),
            _ => {
                self.ignored += one.count;
                return;
            }
        };
        *count += one.count;
        senders.push(one.source.unwrap_or(one.mac));
    }

    /// What the user may not expect of the answer.
    pub fn remark(&self) -> Option<String> {
        let Omitted { undated, forged, forgers, no_pairing, senders, has_sent, .. } = self;
        const LISTED: &str = "`ip` and `mac` with --all list them";
        let mut remarks = Vec::new();
        if *undated > 0 {
            let (one, many) = ("sighting is", "sightings are");
            let see = if *undated == 1 { "it" } else { "them" };
            remarks.push(format!(
                "{} left out, because the clock was not set (add --from 1970-01-01 to see {see})",
                count_of(*undated, one, many)
            ));
        }
        if *forged > 0 {
            let one = "claim is left out, because another MAC sent its frame";
            let many = "claims are left out, because another MAC sent their frames";
            remarks.push(format!(
                "{} while the owner claimed the address itself: {} ({LISTED})",
                count_of(*forged, one, many),
                listed(forgers)
            ));
        }
        if *no_pairing > 0 {
            let one = "message is left out, because it names a MAC that no host has, or has";
            let many = "messages are left out, because they name a MAC that no host has, or have";
            remarks.push(format!(
                "{} a form that hosts ignore: sent by {} ({LISTED})",
                count_of(*no_pairing, one, many),
                listed(senders)
            ));
        }
        if *has_sent {
            remarks.push("it sent frames with claims of other MACs (--all lists them)".into());
        }
        Some(remarks.join("; ")).filter(|text| !text.is_empty())
    }
}

/// The first MACs of a list, each once.
pub fn listed(all: &[MacAddr]) -> String {
    const SHOWN: usize = 3;
    let mut all = all.to_vec();
    all.sort_unstable();
    all.dedup();
    let shown: Vec<String> = all.iter().take(SHOWN).map(MacAddr::to_string).collect();
    let more = all.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
