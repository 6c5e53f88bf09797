use super::*;
use aw_output::{makers::Makers, names::LiveNames};
use std::sync::mpsc;

/// Of a history with one device.
fn asker() -> (tempfile::TempDir, Asker) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let tables = "
        PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
        CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
        CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER);
        CREATE TABLE sighting (pairing, time, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
        INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');
        INSERT INTO pairing VALUES (1, x'0a000001', 1, 1, -1);
        INSERT INTO sighting VALUES (1, 1795183200000000000, 1, 0);";
    rusqlite::Connection::open(&path).unwrap().execute_batch(tables).unwrap();
    let history =
        History::named(path.to_str(), None, &"".parse().unwrap(), &Default::default()).unwrap();
    let fault = FaultFile::create(directory.path()).unwrap();
    let makers = Makers::new(std::path::Path::new("/nonexistent"));
    let devices = Devices::new(LiveNames::default(), makers);
    let time = Duration::from_secs(60);
    (directory, Asker::new((history, fault), devices, TimeZone::UTC, time))
}

/// All who ask at a time get one list, which is read once; also if the client that asked first goes.
#[test]
fn a_list_is_read_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_directory, asker) = asker();
        let (asker, begun) = (Arc::new(asker), Instant::now());
        let other = Arc::clone(&asker);
        let gone = tokio::spawn(async move { other.all_devices().await.map(drop) });
        tokio::task::yield_now().await;
        gone.abort();
        let all: Vec<_> = (0..50)
            .map(|_| {
                let asker = Arc::clone(&asker);
                tokio::spawn(async move { asker.all_devices().await.unwrap() })
            })
            .collect();
        let first = asker.all_devices().await.unwrap();
        assert_eq!(first.devices(false).len(), 1);
        for other in all {
            // A machine that is so slow that the list is too old meanwhile reads it again.
            let other = other.await.unwrap();
            assert!(Arc::ptr_eq(&first, &other) || begun.elapsed() > LIST_AGE);
        }
    });
}

/// An old list is given at once, and the next one is read meanwhile, once.
#[test]
fn an_old_list_is_used_while_the_next_is_read() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_directory, asker) = asker();
        let first = asker.all_devices().await.unwrap();
        let becomes_old = |asker: &Asker| {
            let mut list = asker.list.lock().unwrap();
            list.as_mut().unwrap().until = Instant::now();
        };
        becomes_old(&asker);
        let reading = Arc::clone(&asker.reading).lock_owned().await; // as if it were read
        let second = asker.all_devices().await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        asker.prepare(); // it is being read
        drop(reading);
        becomes_old(&asker);
        let third = asker.all_devices().await.unwrap();
        assert!(Arc::ptr_eq(&first, &third));
        let done = Arc::clone(&asker.reading).lock_owned();
        tokio::task::yield_now().await;
        drop(done.await);
        let next = asker.all_devices().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &next), "the next one was read");
    });
}

/// A list that is in use is read again before it is too old, and one that is not, or takes long, is not.
#[test]
fn a_list_in_use_is_read_ahead() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_directory, asker) = asker();
        let is_reading = || asker.reading.try_lock().is_err();
        asker.read_ahead();
        assert!(!is_reading(), "no list was asked for");
        asker.all_devices().await.unwrap();
        let changed = |took: Duration| {
            let mut list = asker.list.lock().unwrap();
            let list = list.as_mut().unwrap();
            (list.took, list.until) = (took, Instant::now());
        };
        changed(CHEAP);
        asker.read_ahead();
        assert!(!is_reading(), "it takes long");
        changed(Duration::ZERO);
        *asker.asked.lock().unwrap() = Instant::now().checked_sub(IN_USE);
        asker.read_ahead();
        assert!(!is_reading(), "it is not in use");
        *asker.asked.lock().unwrap() = Some(Instant::now());
        asker.read_ahead();
        assert!(is_reading());
    });
}

/// A place is free only when the page is there, and not when its rows are.
#[test]
fn a_page_counts_until_it_is_made() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_directory, asker) = asker();
        let asker = Arc::new(asker);
        let other = Arc::clone(&asker);
        let free = move |_| Ok(other.queue.running.available_permits());
        let question = Question::Devices(TimeRange::ALL);
        assert_eq!(asker.ask_and(question, (10, &TimeZone::UTC), free).await.unwrap(), RUNNING - 1);
        assert_eq!(asker.queue.running.available_permits(), RUNNING);
    });
}

/// One is done, one waits, and the third one is refused at once; a client that has gone frees the place of what did not begin.
#[test]
fn a_full_queue_refuses() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let queue = Queue::new((1, 1), (0, 0));
        let (end, ends) = mpsc::channel::<()>();
        let first = tokio::spawn(queue.run(true, move || ends.recv().is_ok()));
        tokio::task::yield_now().await;
        let second = tokio::spawn(queue.run(false, || 2));
        let refused = queue.run(false, || 3).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.why.contains("try again") && refused.retry_after.is_some());
        drop(queue.run(false, || 4));
        end.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(queue.run(false, || 5).await.unwrap(), 5);
    });
}

/// Questions that take long have not all places: one about an address is answered beside them.
#[test]
fn a_place_for_short_questions() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let queue = Queue::new((2, 2), (1, 1));
        let (end, ends) = mpsc::channel::<()>();
        let first = tokio::spawn(queue.run(true, move || ends.recv().is_ok()));
        tokio::task::yield_now().await;
        let second = tokio::spawn(queue.run(true, || 2));
        tokio::task::yield_now().await;
        let refused = queue.run(true, || 3).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        for number in 0..10 {
            assert_eq!(queue.run(false, move || number).await.unwrap(), number);
        }
        end.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(queue.run(true, || 5).await.unwrap(), 5);
    });
}

#[test]
fn an_error_of_the_program_is_one_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let queue = Queue::new((1, 0), (0, 0));
        let failed = queue.run(false, || panic!("a test")).await.unwrap_err();
        assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(queue.run(false, || 1).await.unwrap(), 1);
    });
}
