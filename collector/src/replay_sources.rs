//! The interfaces of a capture file: what is read of them, under which name, with which filter.

use pcap::{BpfProgram, Capture, Linktype};
use shm_layout::{Counter, InterfaceName};

use crate::{
    Error,
    capture_file::Description,
    event_name::{self, EventName},
    failed, info,
    interface::{self, explain},
    link::{Frame, LinkType},
    options::Options,
    pipeline::{FrameSource, Pipeline},
    warn,
};

/// Most messages about interfaces that are skipped.
const MESSAGES: usize = 8;

/// The interfaces of the current section.
pub struct ReplaySources {
    /// The file's name in messages.
    file: String,
    /// `--as`, and those of them whose interface did not occur.
    names: Vec<EventName>,
    unused: Vec<EventName>,
    /// The name of events without `--as`.
    default: InterfaceName,
    /// `--filter`, and the programs for the link types that occurred.
    filter: Option<String>,
    filters: Vec<(LinkType, BpfProgram)>,
    interfaces: Vec<Interface>,
    /// Why the first one was skipped that was.
    refusal: Option<String>,
    /// Messages about interfaces that are skipped: their number, and those not logged yet, because there
    /// may be no other interface, which is an error.
    messages: usize,
    pending: Vec<String>,
    /// Whether there was an interface whose frames can be read.
    readable: bool,
    /// Frames of skipped interfaces that came before the counters were there.
    uncounted: Vec<(InterfaceName, u64)>,
}

struct Interface {
    /// The name of its events.
    name: InterfaceName,
    /// None: its frames are no Ethernet frames, and are skipped.
    link: Option<LinkType>,
    /// Its counters, once a frame came.
    source: Option<FrameSource>,
}

impl ReplaySources {
    pub fn new(file: &str, options: &Options) -> Result<Self, Error> {
        let named = options.names.iter().filter(|one| one.interface.is_some());
        Ok(ReplaySources {
            file: file.into(),
            default: "pcap".parse().map_err(failed)?,
            names: options.names.clone(),
            unused: named.cloned().collect(),
            filter: options.filter.clone(),
            filters: Vec::new(),
            interfaces: Vec::new(),
            refusal: None,
            messages: 0,
            pending: Vec::new(),
            readable: false,
            uncounted: Vec::new(),
        })
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// A new section begins.
    pub fn clear(&mut self) {
        self.interfaces.clear();
    }

    /// Adds the next interface of the section; returns its link type, or none if it is skipped.
    pub fn add(&mut self, description: &Description) -> Result<Option<LinkType>, Error> {
        let interface = description.name.as_deref();
        let name = event_name::chosen(&self.names, interface).unwrap_or(self.default);
        self.unused.retain(|one| one.interface.as_deref() != interface);
        let link = match LinkType::of(description.link()) {
            Ok(link) => Some(link),
            Err(why) => {
                self.log_skipped(interface, &why);
                self.refusal.get_or_insert(why);
                None
            }
        };
        if let Some(link) = link {
            self.compile_filter(link)?;
            self.readable = true;
        }
        if self.readable {
            self.pending.drain(..).for_each(info);
        }
        self.interfaces.push(Interface { name, link, source: None });
        Ok(link)
    }

    fn log_skipped(&mut self, interface: Option<&str>, why: &str) {
        let number = self.interfaces.len();
        let name = interface.map_or(number.to_string(), |name| {
            name.chars().take(32).flat_map(char::escape_debug).collect()
        });
        if self.messages < MESSAGES {
            self.messages += 1;
            let file = &self.file;
            self.pending.push(format!("read {file}: interface {name} is skipped: {why}"));
        }
    }

    fn compile_filter(&mut self, link: LinkType) -> Result<(), Error> {
        let Some(filter) = &self.filter else { return Ok(()) };
        if self.filters.iter().any(|(known, _)| *known == link) {
            return Ok(());
        }
        let number = Linktype(link as i32);
        let dead = Capture::dead(number).map_err(|error| failed(explain(&error)));
        let program = interface::compile(&mut dead?, filter).map_err(failed)?;
        self.filters.push((link, program));
        Ok(())
    }

    /// Processes a frame; returns whether it became an event.
    pub fn process(&mut self, interface: usize, frame: &Frame, pipeline: &mut Pipeline) -> bool {
        let Some(from) = self.interfaces.get_mut(interface) else { return false };
        let Some(link) = from.link else {
            let counters = pipeline.counters(from.name);
            pipeline.count_frames(counters, Counter::LinkType, 1);
            return false;
        };
        let name = from.name;
        let source = from.source.get_or_insert_with(|| pipeline.source(name, link));
        let mut filters = self.filters.iter();
        let filter = filters.find(|(known, _)| *known == link);
        if filter.is_some_and(|(_, filter)| !filter.filter(frame.bytes)) {
            pipeline.count_frames(source.counters, Counter::Filtered, 1);
            return false;
        }
        pipeline.process_frame(source, frame)
    }

    /// Takes note of a frame of an interface that is skipped, before the counters are there.
    pub fn skip(&mut self, interface: usize) {
        let Some(from) = self.interfaces.get(interface) else { return };
        match self.uncounted.iter_mut().find(|(name, _)| *name == from.name) {
            Some((_, number)) => *number += 1,
            None => self.uncounted.push((from.name, 1)),
        }
    }

    /// Counts the frames of which [`ReplaySources::skip`] took note.
    pub fn count_skipped(&mut self, pipeline: &mut Pipeline) {
        for (name, number) in self.uncounted.drain(..) {
            let counters = pipeline.counters(name);
            pipeline.count_frames(counters, Counter::LinkType, number);
        }
    }

    /// The error for a file without an interface whose frames can be read.
    pub fn nothing_to_read(&self) -> Error {
        let why = self.refusal.as_deref().unwrap_or("it has no interfaces, and so no frames");
        failed(format_args!("read {}: {why}", self.file))
    }

    /// At the end: a name for an interface that the file does not have is probably a mistake.
    pub fn log_unused_names(&self) {
        for one in &self.unused {
            let interface = one.interface.as_deref().unwrap_or_default();
            warn(format_args!(
                "--as {interface}={}: {} has no interface {interface}, or does not name it",
                one.name, self.file
            ));
        }
    }
}
