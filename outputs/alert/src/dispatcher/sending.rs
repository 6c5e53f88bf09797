//! From the queue of each channel to the sender process, and its results.

use std::time::Instant;

use aw_output::{Look, SinkResult};

use super::{Dispatcher, UNSTORED};
use crate::{
    channel_queue::Disposition,
    sender::{SendRequest, SendResult},
};

impl Dispatcher {
    /// While events wait for the commit: reads the rings of names, and determines whether a message can be sent now, before which
    /// all is committed.
    pub(super) fn look_for_messages(&mut self) -> SinkResult<Look> {
        // One pass has its own order: names follow all events.
        if self.options.once {
            return Ok(Look::Wait);
        }
        self.last_names = Some(Instant::now());
        self.read_names(None)?;
        // Only a flush takes a result: its deletion is to be committed with it.
        if let Some(sender) = &mut self.sender {
            for channel in sender.answered() {
                self.has_message |= self.store.queued(channel)? > 1;
            }
        }
        Ok(match self.has_message {
            true => Look::Flush,
            false if self.names_left => Look::Again,
            false => Look::Wait,
        })
    }

    /// Handles what the sender process has done.
    pub(super) fn handle_results(&mut self) -> SinkResult {
        let mut results = Vec::new();
        if let Some(sender) = &mut self.sender {
            while let Some(result) = sender.try_result()? {
                results.push(result);
            }
        }
        // First all of them: if the database cannot be written, each channel goes on nevertheless.
        let mut finished = Vec::new();
        for SendResult { id, channel, failure } in results {
            let mut names = self.config.channel.iter().map(|channel| &channel.name);
            let Some(index) = names.position(|name| *name == channel) else { continue };
            let (disposition, announce) = self.queues[index].finished(&channel, failure.as_ref());
            finished.push((id, index, disposition, failure, announce));
        }
        for (id, index, disposition, failure, announce) in finished {
            match disposition {
                _ if id == UNSTORED => {}
                Disposition::Remove => self.store.remove(id)?,
                Disposition::SetAside => self.store.set_aside(id)?,
                Disposition::Retry => {}
            }
            if let Some(why) = failure.filter(|_| announce) {
                self.announce_failure(index, &why.to_string())?;
            }
        }
        Ok(())
    }

    /// Passes the oldest message of each ready channel to the sender process: after a commit, because what is not
    /// committed must not be sent.
    pub(super) fn send_next(&mut self) -> SinkResult {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        for (channel, queue) in self.config.channel.iter().zip(&mut self.queues) {
            if queue.is_ready()
                && let Some((id, message)) = self.store.next(&channel.name)?
            {
                let seconds = message.fields["seconds"].as_i64().unwrap_or_default();
                let message_id = self.message_ids.id(id, seconds);
                let channel = channel.name.clone();
                sender.request(&SendRequest { id, message_id, channel, message })?;
                queue.in_flight = Some(id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        time::{Duration, Instant},
    };

    use aw_output::{Entry, Look, NameFollower, Plan, RingOptions, Sink, SinkResult};
    use clap::Parser;
    use shm_layout::{
        MacAddr, NameKind, NameRecord, NamesWriter, Position, RingName, UnixTime, WriterOptions,
    };

    use crate::{
        dispatcher::{Dispatcher, names::tests as names},
        name_lists::NameLists,
        sender::tests::answering,
    };

    const CHANNEL: &str = "[[channel]]\nname = \"x\"\ncommand = [\"/bin/true\"]\n";
    const LONG: Duration = Duration::from_secs(20);

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        rings: RingOptions,
    }

    fn dispatcher(directory: &std::path::Path, config: &str) -> Dispatcher {
        names::dispatcher(directory, config, NameLists::read(None, None).unwrap())
    }

    fn mac(number: u8) -> MacAddr {
        MacAddr::new([0, 8, 0xe1, 0, 0, number])
    }

    /// A device with this number is seen.
    fn write(dispatcher: &mut Dispatcher, number: u8) -> SinkResult {
        let ring: RingName = "/r".parse().unwrap();
        let position = Position { generation: 1, sequence: 0 };
        let mut event = names::event(mac(number));
        event.address = Ipv4Addr::new(10, 0, 0, number).to_ipv6_mapped();
        dispatcher.write(&Entry { ring: &ring, host: "sensor", position, event })
    }

    /// A ring of names, which is removed at the end.
    struct Names(RingName, NamesWriter);

    impl Names {
        /// Beside a ring with this name, which the dispatcher reads.
        fn of(dispatcher: &mut Dispatcher, name: &str) -> Names {
            let events = format!("/aw-test-{name}-{}", std::process::id());
            let options = Options::parse_from(["test", "--ring", &events]).rings;
            let events: RingName = events.parse().unwrap();
            let name = events.names();
            let writer = WriterOptions { name, slots: 64, group: None, host: None };
            let writer = NamesWriter::create(&writer).unwrap();
            dispatcher.options.followed =
                Some(NameFollower::new(&options, &Plan::default()).unwrap());
            Names(events, writer)
        }

        /// A router announces itself.
        fn router(&mut self, number: u8) {
            let interface = "eth0".parse().unwrap();
            let time = UnixTime::new(UnixTime::now().seconds() - 2, 0);
            let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into());
            let (mac, sender) = (mac(number), mac(number));
            let (source, lifetime, hops) = (address, 1800, 64);
            let record = NameRecord::new(NameKind::Router, time, interface);
            let record = NameRecord { mac, sender, address, source, lifetime, hops, ..record };
            let place = self.1.interface(interface);
            self.1.publish(place, &record);
        }
    }

    impl Drop for Names {
        fn drop(&mut self) {
            let path = self.0.names().path();
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(format!("{}.lock", path.display()));
        }
    }

    /// Looks until all that is there was read.
    fn look(dispatcher: &mut Dispatcher) -> SinkResult<Look> {
        loop {
            match dispatcher.look()? {
                Look::Again => {}
                look => return Ok(look),
            }
        }
    }

    /// An alert that is sent alone does not wait for the commit of what goes on; one for the digest does.
    #[test]
    fn a_message_waits_for_no_further_events() {
        let directory = tempfile::tempdir().unwrap();
        let mut dispatcher = dispatcher(directory.path(), &format!("{CHANNEL}burst = 1\n"));
        let mut look = |number: u8| {
            write(&mut dispatcher, number).unwrap();
            let look = dispatcher.look().unwrap();
            if look == Look::Flush {
                dispatcher.flush().unwrap();
                assert_eq!(dispatcher.look().unwrap(), Look::Wait, "it is committed");
            }
            look
        };
        assert_eq!([1, 1, 2].map(&mut look), [Look::Flush, Look::Wait, Look::Wait]);
    }

    /// A router that announces itself while an event waits for its commit is a message at once.
    #[test]
    fn names_are_read_while_an_event_waits() {
        let directory = tempfile::tempdir().unwrap();
        let config = format!("{CHANNEL}kinds = [\"new_router\"]\n");
        let mut dispatcher = dispatcher(directory.path(), &config);
        let mut ring = Names::of(&mut dispatcher, "look");
        write(&mut dispatcher, 1).unwrap();
        assert_eq!(look(&mut dispatcher).unwrap(), Look::Wait);
        ring.router(9);
        assert_eq!(look(&mut dispatcher).unwrap(), Look::Flush);
        assert_eq!(dispatcher.store.queued("x").unwrap(), 1);
    }

    /// What a look that fails has read is read again after the event that waited, and causes one message.
    #[test]
    fn a_look_that_fails() {
        let directory = tempfile::tempdir().unwrap();
        let mut dispatcher = dispatcher(directory.path(), CHANNEL);
        let mut ring = Names::of(&mut dispatcher, "fails");
        ring.router(8);
        assert_eq!(look(&mut dispatcher).unwrap(), Look::Flush);
        dispatcher.flush().unwrap();
        write(&mut dispatcher, 1).unwrap();
        ring.router(9);
        let only_reads = |dispatcher: &mut Dispatcher, is: bool| {
            let pragma = format!("PRAGMA query_only = {is}");
            dispatcher.store.memory.read(|database| database.execute_batch(&pragma)).unwrap();
        };
        only_reads(&mut dispatcher, true);
        assert!(look(&mut dispatcher).is_err());
        only_reads(&mut dispatcher, false);
        assert_eq!(dispatcher.store.queued("x").unwrap(), 1, "of the commit before");
        write(&mut dispatcher, 1).unwrap();
        assert_eq!(look(&mut dispatcher).unwrap(), Look::Flush);
        dispatcher.flush().unwrap();
        assert_eq!(look(&mut dispatcher).unwrap(), Look::Wait);
        assert_eq!(dispatcher.store.queued("x").unwrap(), 3);
    }

    /// A channel's next message follows its result at once, also if another channel's result came first.
    #[test]
    fn each_result_sends_the_next_message() {
        let directory = tempfile::tempdir().unwrap();
        let other = CHANNEL.replace("\"x\"", "\"y\"");
        let mut dispatcher = dispatcher(directory.path(), &format!("{CHANNEL}burst = 1\n{other}"));
        for number in [1, 2] {
            write(&mut dispatcher, number).unwrap();
        }
        dispatcher.store.commit().unwrap();
        let mut first = |channel| dispatcher.store.next(channel).unwrap().unwrap().0;
        let [x, y] = ["x", "y"].map(&mut first);
        dispatcher.sender = Some(answering(&[(x, "x"), (y, "y")]));
        dispatcher.flush().unwrap();
        write(&mut dispatcher, 1).unwrap(); // no alert, and its commit can wait
        let end = Instant::now() + LONG;
        while dispatcher.look().unwrap() != Look::Flush {
            assert!(Instant::now() < end, "the next one waits");
        }
        dispatcher.flush().unwrap();
        let next = dispatcher.store.next("y").unwrap().unwrap().0;
        assert!(next > y && dispatcher.queues[1].in_flight == Some(next), "{next} follows {y}");
    }
}
