//! Who waits for a sync of a partial with gaps: only what needs it.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a set of parts may have one"
)]

use std::sync::mpsc;
use std::time::Instant;

use super::*;

/// Runs `what` in a thread whose next sync takes until the returned sender is dropped, or two seconds. Returns
/// when it has begun.
fn in_a_slow_sync(
    what: impl FnOnce() + Send + 'static,
) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (done, wait) = mpsc::channel::<()>();
    let (begins, begun) = mpsc::channel();
    let thread = thread::spawn(move || {
        let slow = move |_: &str| {
            // After the first sync it is not waited for.
            let _ = begins.send(());
            let _ = wait.recv_timeout(Duration::from_secs(2));
            false
        };
        with_failing_syncs(slow, what);
    });
    begun.recv().expect("a sync begins");
    (done, thread)
}

/// Those who write to a partial do not wait while another one syncs it.
#[test]
fn a_sync_holds_up_no_other_writer() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(500..600));
    let save = partial.preserve().expect("it is always time");
    let begun = Instant::now();
    let (done, thread) = in_a_slow_sync(|| save().expect("saved"));
    write(&mut *partial, &(700..800));
    assert!(partial.preserve().is_none(), "one at a time");
    assert!(begun.elapsed() < Duration::from_secs(1), "it waited");
    drop(done);
    thread.join().expect("no panic");
    assert_eq!(left_by(&layout), parts(&[500..600]));
    preserve(&mut *partial).expect("recorded");
    assert_eq!(left_by(&layout), parts(&[500..600, 700..800]));
}

/// What is cancelled does not wait for a sync, and a save that ends later changes nothing.
#[test]
fn a_partial_is_given_back_during_a_sync() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(500..600));
    preserve(&mut *partial).expect("recorded");
    write(&mut *partial, &(700..800));
    let save = partial.preserve().expect("it is always time");
    let begun = Instant::now();
    let (done, thread) = in_a_slow_sync(|| save().expect("void"));
    drop(partial);
    assert!(begun.elapsed() < Duration::from_secs(1), "it waited");
    let mut next = ours(&layout, &blob(), SIZE);
    assert_eq!(extents(&*next), parts(&[500..600]), "as recorded");
    write(&mut *next, &(800..900));
    preserve(&mut *next).expect("recorded");
    drop(done);
    thread.join().expect("no panic");
    assert_eq!(left_by(&layout), parts(&[500..600, 800..900]));
}

/// On a disk that is slow, nothing is synced when a partial is given back; on others, all of it is recorded.
#[test]
fn a_partial_is_given_back_to_a_slow_disk_as_it_was_recorded() {
    for is_slow in [false, true] {
        let (_dir, layout) = fresh();
        let mut partial = ours(&layout, &blob(), SIZE);
        write(&mut *partial, &(500..600));
        let slowly = move |_: &str| {
            thread::sleep(Duration::from_millis(if is_slow { 1100 } else { 0 }));
            false
        };
        with_failing_syncs(slowly, || {
            preserve(&mut *partial).expect("recorded");
        });
        write(&mut *partial, &(0..500));
        write(&mut *partial, &(700..800));
        let syncs = Rc::new(Cell::new(0));
        let count = {
            let syncs = Rc::clone(&syncs);
            move |_: &str| {
                syncs.set(syncs.get() + 1);
                false
            }
        };
        with_failing_syncs(count, || drop(partial));
        let expected = if is_slow {
            (0, parts(&[500..600]))
        } else {
            (2, parts(&[0..600, 700..800]))
        };
        assert_eq!((syncs.get(), left_by(&layout)), expected);
    }
}

/// A commit waits for a sync that is under way: if that fails, its own would not tell.
#[test]
fn a_commit_waits_for_a_sync() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(500..SIZE));
    write(&mut *partial, &(0..500));
    let save = partial.preserve().expect("it is always time");
    let (done, thread) = in_a_slow_sync(|| save().expect("void"));
    let committed = thread::spawn(move || partial.commit());
    thread::sleep(Duration::from_millis(50));
    assert!(!committed.is_finished());
    drop(done);
    thread.join().expect("no panic");
    committed.join().expect("no panic").expect("committed");
    assert!(load(&layout, &blob()) == Some(content()));
}
