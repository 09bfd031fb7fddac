//! The process ends at each call, before and after it took effect, and a new one takes over.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    run, scoped,
    server::{Crash, FakeJournal, Server},
};
use crate::{
    Deletion, Desired, Gone, Outcome, ReadBack, ReconcileContext, ReconcileInput, Secret, reconcile,
    tests::{FakeKeys, desired_as},
};

fn pair() -> (Server, FakeJournal) {
    let server = Server::default();
    let fake_journal = FakeJournal::with_fuse(Arc::clone(&server.failpoint));
    (server, fake_journal)
}

/// Runs until the process ends; tells whether it came to the end of its work instead.
fn run_until_crash(
    desired: &Desired,
    read_back: ReadBack,
    crash: Crash,
    server: &Server,
    fake_journal: &mut FakeJournal,
) -> bool {
    server.failpoint.lock().unwrap().set(Some(crash));
    let ended = {
        let future = pin!(run(desired, read_back, server, fake_journal));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                result.unwrap();
                true
            }
            Poll::Pending => false,
        }
    };
    server.failpoint.lock().unwrap().set(None);
    ended
}

/// Every point at which a run that does all of its work can end.
fn crashes() -> impl Iterator<Item = Crash> {
    (0..16).flat_map(|at| [false, true].map(|after| Crash { at, after }))
}

/// How the calls of a run with one step are numbered: load, store of the intent, call, store of the result.
const CALL: usize = 2;
const RESULT: usize = 3;

/// Whether the server has acted but the journal does not know.
fn in_the_gap(crash: Crash) -> bool {
    (crash.at == CALL && crash.after) || (crash.at == RESULT && !crash.after)
}

#[tokio::test]
async fn a_create_that_ends_anywhere_leaves_no_unreported_client_r4() {
    let mut points = 0;
    for crash in crashes() {
        let (server, mut fake_journal) = pair();
        if run_until_crash(&scoped("a"), ReadBack::No, crash, &server, &mut fake_journal) {
            continue;
        }
        points += 1;
        let Outcome::Registered(client) = run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap()
        else {
            panic!("{crash:?}")
        };
        assert_eq!(fake_journal.token(), server.client(&client.client_id).token, "{crash:?}");
        let reported = client.possible_orphan.map_or(0, |orphan| orphan.unanswered_creates as usize);
        if in_the_gap(crash) {
            assert_eq!((server.len(), reported), (2, 1), "{crash:?}");
        } else {
            // Between intent and call nothing can tell that nothing was sent: a false alarm, never a silent orphan.
            let alarm = (crash.at == 1 && crash.after) || (crash.at == CALL && !crash.after);
            assert_eq!((server.len(), reported), (1, usize::from(alarm)), "{crash:?}");
        }
    }
    assert_eq!(points, 8, "four calls, before and after each");
}

#[tokio::test]
async fn an_update_that_ends_anywhere_loses_no_token_that_was_stored() {
    let mut points = 0;
    for crash in crashes() {
        let (server, mut fake_journal) = pair();
        run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap();
        if run_until_crash(&scoped("b"), ReadBack::No, crash, &server, &mut fake_journal) {
            continue;
        }
        points += 1;
        let result = run(&scoped("b"), ReadBack::No, &server, &mut fake_journal).await;
        if in_the_gap(crash) {
            // What remains: this server rotates on PUT and the answer is gone. It is told, not hidden, and a new
            // client takes over.
            let Ok(Outcome::Registered(client)) = result else { panic!("{crash:?}") };
            assert_eq!((client.client_id.as_str(), server.len()), ("c2", 2), "{crash:?}");
            assert_eq!(client.possible_orphan.unwrap().abandoned, ["c1"], "{crash:?}");
            continue;
        }
        result.unwrap();
        assert_eq!(fake_journal.token(), server.client("c1").token, "{crash:?}");
        assert_eq!(server.client("c1").metadata["scope"], "b", "{crash:?}");
        assert!(fake_journal.entry().intent.is_none(), "{crash:?}");
    }
    assert_eq!(points, 8);
}

#[tokio::test]
async fn a_read_that_ends_anywhere_is_read_again() {
    let mut points = 0;
    for crash in crashes() {
        let (server, mut fake_journal) = pair();
        run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap();
        if run_until_crash(&scoped("a"), ReadBack::Yes, crash, &server, &mut fake_journal) {
            continue;
        }
        points += 1;
        run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap();
        assert_eq!(fake_journal.token(), server.client("c1").token, "{crash:?}");
        assert!(fake_journal.entry().intent.is_none(), "{crash:?}");
    }
    assert_eq!(points, 8);
}

#[tokio::test]
async fn a_delete_that_ends_anywhere_is_finished() {
    let delete = desired_as(Deletion::Delete, |_| ());
    let mut points = 0;
    for crash in crashes() {
        let (server, mut fake_journal) = pair();
        run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap();
        if run_until_crash(&delete, ReadBack::No, crash, &server, &mut fake_journal) {
            continue;
        }
        points += 1;
        let Outcome::Gone { how, possible_orphan } =
            run(&delete, ReadBack::No, &server, &mut fake_journal).await.unwrap()
        else {
            panic!("{crash:?}")
        };
        assert!(server.is_empty() && fake_journal.entry().is_blank() && possible_orphan.is_none(), "{crash:?}");
        assert!(matches!(how, Gone::Absent | Gone::Confirmed | Gone::NotFound), "{crash:?} {how:?}");
    }
    assert_eq!(points, 10, "load, intent, call, result and clear, before and after each");
}

#[tokio::test]
async fn a_begun_deletion_is_finished_before_the_client_is_made_again() {
    let delete = desired_as(Deletion::Delete, |_| ());
    let (server, mut fake_journal) = pair();
    run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap();
    assert!(!run_until_crash(&delete, ReadBack::No, Crash { at: CALL, after: false }, &server, &mut fake_journal));
    let Outcome::Registered(client) = run(&scoped("a"), ReadBack::No, &server, &mut fake_journal).await.unwrap() else {
        panic!("no client")
    };
    assert_eq!((client.client_id.as_str(), server.len()), ("c2", 1));
    assert!(client.changed && client.possible_orphan.is_none());
}

#[test]
fn a_run_may_move_between_threads() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let (server, mut fake_journal) = pair();
    let (desired, initial) = (scoped("a"), Secret::new("initial".to_owned()));
    let keys = FakeKeys::default();
    let situation =
        ReconcileContext { occasion: ReconcileInput::at(0, Some(&initial)), transport: &server, keys: &keys };
    drop(sent(reconcile(&desired, &situation, &mut fake_journal)));
}
