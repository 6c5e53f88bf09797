//! Names that change while aw-alert runs.

use aw_detect::Names;
use aw_output::{SinkResult, info, warn};

use super::Dispatcher;
use crate::{check::unwatched, config::Config};

/// MACs of a name in the log.
const MAX_SHOWN: usize = 5;

impl Dispatcher {
    /// Gives the rules the names and the known devices as they are now.
    pub(super) fn apply_names(&mut self) -> SinkResult {
        let imported = self.store.names()?;
        self.rules.known = self.options.names.all_known(imported.clone());
        self.rules.names = self.options.names.all(imported);
        self.rules.watched = self.config.watched(&self.rules.names);
        let names = self.config.unwatched(&self.rules.names);
        // Once, until a device has the name.
        for name in names.iter().filter(|name| !self.unwatched.contains(**name)) {
            warn(format_args!("{}", unwatched(name, &self.rules.names)));
        }
        self.unwatched = names.into_iter().map(str::to_owned).collect();
        self.store.memory.mark_named(&self.rules.named_macs())
    }

    /// The same if a file of names changed.
    pub(super) fn apply_changed_names(&mut self) -> SinkResult {
        if !self.options.names.take_changed() {
            return Ok(());
        }
        let before = self.rules.names.clone();
        self.apply_names().inspect_err(|_| self.options.names.set_changed())?;
        for change in changes(&self.config, &before, &self.rules.names) {
            info(format_args!("{change}"));
        }
        Ok(())
    }
}

/// What a new file of names watches and mutes: others than root may write it.
fn changes(config: &Config, before: &Names, after: &Names) -> Vec<String> {
    let of = |names: &Names, name: &str| -> Vec<String> {
        let macs = names.iter().filter(|(_, known)| *known == name);
        macs.map(|(mac, _)| mac.to_string()).collect()
    };
    let changed = config.device_names().into_iter().filter_map(|name| {
        let (before, after) = (of(before, name), of(after, name));
        let shown = |macs: &[String]| match macs {
            [] => "no device".to_owned(),
            macs => macs.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", "),
        };
        (before != after).then(|| {
            format!(
                "the name {name:?} of [[watch]] or [[mute]] is now that of {}, and was that of {}",
                shown(&after),
                shown(&before)
            )
        })
    });
    changed.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, net::Ipv4Addr, path::Path};

    use aw_output::{Entry, Sink};
    use shm_layout::{Event, Kind, MacAddr, Origin, Position, RingName, UnixTime, VlanId};

    use crate::{
        config::Config,
        dispatcher::{DispatchOptions, Dispatcher},
        name_lists::NameLists,
        store::AlertStore,
    };

    /// One without a sender process, which reports all from the first event on.
    pub fn dispatcher(directory: &Path, config: &str, names: NameLists) -> Dispatcher {
        dispatcher_that_learns(directory, config, names, Some(0))
    }

    /// The same with `--learn`.
    pub fn dispatcher_that_learns(
        directory: &Path,
        config: &str,
        names: NameLists,
        learn: Option<i64>,
    ) -> Dispatcher {
        let config_file =
            crate::config_file::ConfigFile::new(None, String::new(), Default::default());
        let options = DispatchOptions {
            print: false,
            once: false,
            learn,
            names,
            followed: None,
            config_file,
            queue_file: aw_output::QueueFile::new(directory, "aw-alert"),
            reported_file: aw_service::LineFile::new(directory.join("a.reported"), 1 << 20),
        };
        let store = AlertStore::open(directory).unwrap();
        let config = Config::parse(config).unwrap();
        let rules = config.rules(Default::default()).unwrap();
        Dispatcher::new(config, rules, store, None, options).unwrap()
    }

    /// A host asks by ARP.
    pub fn event(mac: MacAddr) -> Event {
        Event {
            time: UnixTime::new(1_700_000_000, 0),
            address: Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped(),
            interface: "eth0".parse().unwrap(),
            mac,
            source: mac,
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind: Kind::Pairing(Origin::ArpRequest),
            router: Ipv4Addr::UNSPECIFIED,
        }
    }

    #[test]
    fn changes_of_what_is_watched_or_muted_are_logged() {
        let config =
            Config::parse("[[watch]]\nname = \"nas\"\nsilent_after = 9\n[[mute]]\nname = \"tv\"\n")
                .unwrap();
        let names = |list: &[(&str, &str)]| -> super::Names {
            list.iter().map(|(mac, name)| (mac.parse().unwrap(), (*name).to_owned())).collect()
        };
        let before = names(&[("02:00:00:00:00:01", "nas"), ("02:00:00:00:00:02", "x")]);
        let after = names(&[("02:00:00:00:00:01", "tv"), ("02:00:00:00:00:02", "y")]);
        assert_eq!(super::changes(&config, &before, &before), [""; 0]);
        assert_eq!(
            super::changes(&config, &before, &after),
            [
                "the name \"nas\" of [[watch]] or [[mute]] is now that of no device, and was that of 02:00:00:00:00:01",
                "the name \"tv\" of [[watch]] or [[mute]] is now that of 02:00:00:00:00:01, and was that of no device",
            ]
        );
    }

    /// A name applies in a storm, too, and within a transaction: nothing is committed without the position in the ring.
    #[test]
    fn names_apply_while_events_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("names");
        let mac: MacAddr = "02:00:00:00:00:01".parse().unwrap();
        let lists = |text: &str| {
            fs::write(&path, text).unwrap();
            NameLists::read(Some(&path), None).unwrap()
        };
        let mut dispatcher = dispatcher(directory.path(), "", lists(""));
        let ring: RingName = "/r".parse().unwrap();
        let event = event(mac);
        let position = Position { generation: 1, sequence: 0 };
        let entry = Entry { ring: &ring, host: "sensor", position, event };
        for (text, name) in [("02:00:00:00:00:01 one", Some("one")), ("", None)] {
            dispatcher.options.names = lists(text);
            dispatcher.options.names.set_changed();
            dispatcher.last_due = None; // a second later
            dispatcher.write(&entry).unwrap();
            assert_eq!(dispatcher.rules.name(mac).map(String::as_str), name);
        }
        dispatcher.store.memory.roll_back();
        assert!(dispatcher.store.memory.is_empty().unwrap(), "it was not committed");
    }
}
