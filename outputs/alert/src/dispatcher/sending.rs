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
        if let Some(sender) = &mut self.sender
            && let Some(channel) = sender.answered()
        {
            self.has_message |= self.store.queued(channel)? > 1;
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
    use std::{net::Ipv4Addr, time::Instant};

    use aw_output::{Entry, Look, Sink};
    use shm_layout::{MacAddr, Position, RingName};

    use crate::{
        dispatcher::names::tests::{dispatcher, event},
        name_lists::NameLists,
    };

    /// An alert that is sent alone does not wait for the commit of what goes on; one for the digest does.
    #[test]
    fn a_message_waits_for_no_further_events() {
        let directory = tempfile::tempdir().unwrap();
        let config = "[[channel]]\nname = \"x\"\ncommand = [\"/bin/true\"]\nburst = 1\n";
        let names = NameLists::read(None, None).unwrap();
        let mut dispatcher = dispatcher(directory.path(), config, names);
        let ring: RingName = "/r".parse().unwrap();
        let position = Position { generation: 1, sequence: 0 };
        let mut look = |number: u8| {
            let mac = format!("00:08:e1:00:00:{number:02x}").parse::<MacAddr>();
            let mut event = event(mac.unwrap());
            event.address = Ipv4Addr::new(10, 0, 0, number).to_ipv6_mapped();
            dispatcher.write(&Entry { ring: &ring, host: "sensor", position, event }).unwrap();
            let look = dispatcher.look().unwrap();
            assert!(dispatcher.last_names.is_some_and(|last| last <= Instant::now()));
            if look == Look::Flush {
                dispatcher.flush().unwrap();
                assert_eq!(dispatcher.look().unwrap(), Look::Wait, "it is committed");
            }
            look
        };
        assert_eq!([1, 1, 2].map(&mut look), [Look::Flush, Look::Wait, Look::Wait]);
    }
}
