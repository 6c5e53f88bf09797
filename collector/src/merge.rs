//! Reads from several interfaces in the order of the frames' times. Frames wait in the kernel while others arrive elsewhere: read
//! one interface after the other, they would get into the ring as far out of order as they wait.

use std::{cmp::Reverse, collections::BinaryHeap};

use shm_layout::UnixTime;

use crate::{
    monitored_interface::MonitoredInterface,
    pipeline::{FrameSource, Pipeline},
};

/// The interfaces of one round; kept, because a round allocates nothing.
#[derive(Default)]
pub struct Merge {
    sources: Vec<MergedSource>,
    /// The time of the next frame of each one that has one, and which one.
    next: BinaryHeap<Reverse<(UnixTime, usize)>>,
}

/// An interface that has frames.
#[derive(Clone, Copy)]
pub struct MergedSource {
    /// Which of the interfaces it is.
    pub index: usize,
    source: FrameSource,
    /// The frames that were read.
    pub number: usize,
}

impl Merge {
    /// Processes the frames that are there on these interfaces, `limit` for each on average; returns how many on which.
    pub fn read(
        &mut self,
        interfaces: &mut [MonitoredInterface],
        ready: impl Iterator<Item = usize>,
        limit: usize,
        pipeline: &mut Pipeline,
    ) -> &[MergedSource] {
        self.sources.clear();
        for index in ready {
            let Some(source) = interfaces[index].source(pipeline) else { continue };
            if let Some(time) = interfaces[index].take(pipeline) {
                self.next.push(Reverse((time, self.sources.len())));
            }
            self.sources.push(MergedSource { index, source, number: 0 });
        }
        let mut left = limit * self.sources.len();
        while let Some(Reverse((_, oldest))) = self.next.pop() {
            let MergedSource { index, source, number } = &mut self.sources[oldest];
            let interface = &mut interfaces[*index];
            interface.process_taken(source, pipeline);
            *number += 1;
            left = left.saturating_sub(1);
            // At the end, those that were taken are processed, too.
            if left > 0
                && let Some(time) = interface.take(pipeline)
            {
                self.next.push(Reverse((time, oldest)));
            }
        }
        &self.sources
    }
}
