//! In the place of `spool` in programs that need none, so that they do not link SQLite (feature `spool`): types without
//! values.

use std::{convert::Infallible, path::Path};

use aw_service::Error;
use shm_layout::{Position, RingName};

use crate::{Checkpoint, CheckpointStore, Fault, checkpoint::StreamItem};

/// Options of an output with a spool: there is none.
#[derive(Clone, Debug)]
pub enum SpoolOptions {}

impl SpoolOptions {
    pub(crate) fn limit(&self) -> Infallible {
        match *self {}
    }
}

/// A batch that a spool keeps: there is none.
pub(crate) struct KeptBatch {
    pub last: i64,
    pub hosts: Vec<(RingName, u64, String)>,
}

impl KeptBatch {
    pub fn host(&self, _: &RingName, _: Position) -> Option<&str> {
        None
    }
}

pub(crate) enum Spool {}

impl Spool {
    pub fn open(_: &Path, _: &str, limit: Infallible, _: bool) -> Result<Spool, Error> {
        match limit {}
    }
    pub fn path(&self) -> &Path {
        match *self {}
    }
    pub fn events(&self) -> u64 {
        match *self {}
    }
    pub fn is_empty(&self) -> Result<bool, Error> {
        match *self {}
    }
    pub fn append(
        &mut self,
        _: &[(&RingName, StreamItem)],
        _: &[(RingName, Checkpoint)],
    ) -> Result<bool, Error> {
        match *self {}
    }
    pub fn oldest(&self, _: usize, _: i64) -> Result<(Vec<(RingName, StreamItem)>, i64), Error> {
        match *self {}
    }
    pub fn kept_batch(&self) -> Result<Option<KeptBatch>, Error> {
        match *self {}
    }
    pub fn keep_batch(&mut self, _: &KeptBatch) -> Result<bool, Fault> {
        match *self {}
    }
    pub fn remove_delivered(&mut self, _: i64, _: &[(RingName, Checkpoint)]) -> Result<(), Error> {
        match *self {}
    }
    pub fn has_restart(&self, _: &RingName) -> Result<bool, Error> {
        match *self {}
    }
    pub fn remove_included(&mut self, _: &RingName, _: &Checkpoint) -> Result<u64, Fault> {
        match *self {}
    }
    pub fn end_position(&self, _: &RingName) -> Result<Option<Position>, Error> {
        match *self {}
    }
}

impl CheckpointStore for Spool {
    fn load(&mut self, _: &RingName) -> Result<Option<Checkpoint>, Fault> {
        match *self {}
    }
    fn store(&mut self, _: &RingName, _: &Checkpoint) -> Result<(), Fault> {
        match *self {}
    }
}
