use super::*;
use std::fs;

/// An event as it is stored in the ring: bytes 50 and 51 are its kind and origin.
pub(crate) const EVENT: [u8; Event::SIZE] = {
    let mut bytes = [0; Event::SIZE];
    bytes[24] = b'e';
    bytes[50] = 1;
    bytes
};

impl Spool {
    /// Whether removing items fails, as on a full disk.
    pub(crate) fn refuse_removals(&self, refuse: bool) {
        let statement = match refuse {
            true => {
                "CREATE TEMP TRIGGER refusal BEFORE DELETE ON main.piece
                BEGIN SELECT RAISE(ABORT, 'full'); END"
            }
            false => "DROP TRIGGER refusal",
        };
        self.database.execute_batch(statement).unwrap();
    }

    /// Whether there are free pages, as on a disk that is not full.
    pub(crate) fn have_room(&self, room: bool) {
        let pages = if room { 256 } else { 1 }; // not less than there are
        self.database.pragma_update(None, "max_page_count", pages).unwrap();
    }
}

/// A batch of so many collectors that it does not fit into a full spool: it is sent, and not kept.
#[test]
fn a_batch_without_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path(), "aw-test", 1 << 20, true).unwrap();
    spool.append(&[(&name("/a"), item(1, 0, event()))], &[]).unwrap();
    let hosts = (0..1000).map(|at| (name("/a"), at, "a-long-name-of-a-host".to_owned())).collect();
    let mut batch = KeptBatch { last: 1, hosts };
    spool.have_room(false);
    assert!(!spool.keep_batch(&batch).unwrap());
    assert_eq!(spool.kept_batch().unwrap(), None);
    spool.have_room(true);
    assert!(spool.keep_batch(&batch).unwrap());
    batch.hosts.sort();
    let mut kept = spool.kept_batch().unwrap().unwrap();
    kept.hosts.sort();
    assert_eq!(kept, batch);
}

fn name(ring: &str) -> RingName {
    ring.parse().unwrap()
}

fn item(generation: u64, sequence: u64, kind: ItemKind) -> StreamItem {
    StreamItem { at: Position { generation, sequence }, kind }
}

fn event() -> ItemKind {
    ItemKind::Event(Event::from_bytes(&EVENT).unwrap())
}

fn append(spool: &mut Spool, ring: &RingName, items: &[StreamItem]) -> bool {
    let items: Vec<_> = items.iter().map(|item| (ring, *item)).collect();
    spool.append(&items, &[]).unwrap()
}

#[test]
fn in_order_and_through_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), "aw-test", 1 << 20, false).unwrap();
    let (one, two) = (name("/one"), name("/two"));
    let generation = u64::MAX;
    let mut spool = open();
    assert!(append(
        &mut spool,
        &one,
        &[item(generation, 5, ItemKind::Restart), item(generation, 5, event())]
    ));
    assert!(append(
        &mut spool,
        &two,
        &[item(2, 0, ItemKind::Start), item(2, 0, event()), item(2, 1, ItemKind::Skipped)]
    ));
    assert!(append(&mut spool, &one, &[item(generation, 6, ItemKind::Lost(9))]));
    drop(spool);

    let mut spool = open();
    assert_eq!(spool.events(), 2);
    let at = |generation, sequence| Some(Position { generation, sequence });
    assert_eq!(spool.end_position(&one).unwrap(), at(generation, 15));
    assert_eq!(spool.end_position(&two).unwrap(), at(2, 2));
    assert_eq!(spool.end_position(&name("/three")).unwrap(), None);
    let (items, last) = spool.oldest(4, i64::MAX).unwrap();
    let expected = [
        (one.clone(), item(generation, 5, ItemKind::Restart)),
        (one.clone(), item(generation, 5, event())),
        (two.clone(), item(2, 0, ItemKind::Start)),
        (two.clone(), item(2, 0, event())),
    ];
    assert_eq!(items, expected);
    let checkpoint = Checkpoint { generation, began: 5, delivered: 1, lost: 0, skipped: 0 };
    spool.remove_delivered(last, &[(one.clone(), checkpoint)]).unwrap();
    drop(spool);

    let mut spool = open();
    assert!(matches!(spool.load(&one), Ok(Some(found)) if found == checkpoint));
    assert!(matches!(spool.load(&two), Ok(None)));
    let rest =
        [(two, item(2, 1, ItemKind::Skipped)), (one, item(generation, 6, ItemKind::Lost(9)))];
    assert_eq!((spool.oldest(9, i64::MAX).unwrap().0, spool.events()), (rest.into(), 0));
}

/// The sink has stored items that are still in the spool: none is delivered twice, in whichever stream.
#[test]
fn stored_items_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path(), "aw-test", 1 << 20, false).unwrap();
    let (one, two) = (name("/one"), name("/two"));
    let items = [(1, 8), (1, 9), (2, 0), (2, 1), (2, 2)];
    let items = items.map(|(generation, sequence)| item(generation, sequence, event()));
    for ring in [&one, &two] {
        assert!(append(&mut spool, ring, &items));
    }
    let checkpoint = Checkpoint { generation: 2, began: 0, delivered: 2, lost: 0, skipped: 0 };
    assert_eq!(spool.remove_included(&one, &checkpoint).unwrap(), 4);
    let left = spool.oldest(99, i64::MAX).unwrap().0;
    let of = |ring: &RingName| left.iter().filter(|(name, _)| name == ring).count();
    assert_eq!((of(&one), of(&two), spool.events()), (1, 5, 6));
}

/// The row of a batch never outlives its items: with it, nothing that follows would be delivered.
#[test]
fn a_stored_batch_is_no_longer_kept() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), "aw-test", 1 << 20, true).unwrap();
    let ring = name("/one");
    let mut spool = open();
    assert!(append(&mut spool, &ring, &[0, 1, 2].map(|sequence| item(1, sequence, event()))));
    let batch = KeptBatch { last: 2, hosts: vec![(ring.clone(), 1, "here".to_owned())] };
    spool.keep_batch(&batch).unwrap();
    let upto = |delivered| Checkpoint { generation: 1, began: 0, delivered, lost: 0, skipped: 0 };
    assert_eq!(spool.remove_included(&ring, &upto(1)).unwrap(), 1);
    assert_eq!(spool.kept_batch().unwrap(), Some(batch), "its last item is not stored");
    assert_eq!(spool.remove_included(&ring, &upto(2)).unwrap(), 1);
    assert_eq!(spool.kept_batch().unwrap(), None);
    // An earlier build left the row of a batch, whose number comes again when the spool was empty.
    for number in [2, 99] {
        let row = "INSERT INTO batch (last, ring, generation, host) VALUES (?, '/one', 1, 'there')";
        spool.database.execute(row, [number]).unwrap();
    }
    assert_eq!(spool.kept_batch().unwrap(), None);
    drop(spool);
    let mut spool = open();
    let rows = |spool: &Spool| {
        let count = "SELECT count(*) FROM batch";
        spool.database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(&spool), 0);
    let batch = KeptBatch { last: 3, hosts: Vec::new() };
    spool.keep_batch(&batch).unwrap();
    assert_eq!((spool.kept_batch().unwrap(), rows(&spool)), (Some(batch), 1));
    spool.remove_delivered(3, &[]).unwrap();
    assert_eq!((spool.kept_batch().unwrap(), spool.events()), (None, 0));
}

/// A spool that exists is opened without a write where no batches are kept.
#[test]
fn only_an_output_that_keeps_batches_has_their_table() {
    let directory = tempfile::tempdir().unwrap();
    for (keeps_batches, tables) in [(false, 0), (true, 1)] {
        let spool = Spool::open(directory.path(), "aw-test", 1 << 20, keeps_batches).unwrap();
        let count = "SELECT count(*) FROM sqlite_master WHERE name = 'batch'";
        let found = spool.database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((found, spool.kept_batch().unwrap()), (tables, None));
    }
    let mut spool = Spool::open(directory.path(), "aw-other", 1 << 20, false).unwrap();
    let ring = name("/one");
    assert!(append(&mut spool, &ring, &[item(1, 0, event()), item(1, 1, event())]));
    let checkpoint = Checkpoint { generation: 1, began: 0, delivered: 1, lost: 0, skipped: 0 };
    assert_eq!(spool.remove_included(&ring, &checkpoint).unwrap(), 1);
    spool.remove_delivered(2, &[]).unwrap();
    assert_eq!(spool.events(), 0);
}

#[test]
fn size_is_limited_and_space_is_returned() {
    const LIMIT: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path(), "aw-test", LIMIT, false).unwrap();
    let ring = name("/one");
    let mut next = 0;
    let batch = |next: u64| (next..next + 500).map(|n| item(1, n, event())).collect::<Vec<_>>();
    while append(&mut spool, &ring, &batch(next)) {
        next += 500;
    }
    assert!(next > 5_000, "{next} events");
    assert_eq!(spool.events(), next);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(size(spool.path()) <= LIMIT);
    // A refused batch changes nothing.
    assert!(!append(&mut spool, &ring, &batch(next)));
    assert_eq!(spool.end_position(&ring).unwrap().unwrap().sequence, next);
    while spool.events() > 0 {
        let (_, last) = spool.oldest(2_000, i64::MAX).unwrap();
        spool.remove_delivered(last, &[]).unwrap();
    }
    assert!(size(spool.path()) < LIMIT / 8, "{} bytes", size(spool.path()));
    assert!(append(&mut spool, &ring, &batch(next)));
}

#[test]
fn a_file_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("aw-test.spool"), [7; 9000]).unwrap();
    let Err(Error::Failed(why)) =
        Spool::open(directory.path(), "aw-test", 1 << 20, false).map(drop)
    else {
        panic!()
    };
    assert!(why.contains("aw-test.spool: ") && why.contains("move it away"), "{why}");
}
