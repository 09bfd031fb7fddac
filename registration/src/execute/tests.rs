//! Against a server in memory that behaves like the strictest real ones (see `server`), with a crash at each point.

mod crash;
mod lost;
mod rotate;
mod server;

use http::StatusCode;
use serde_json::json;

use self::server::{FakeJournal, Fault, Server};
use crate::{
    AnswerFault, Deletion, Delivery, Desired, DriftKind, Error, Gone, JournalError, JournalFault, Outcome, ReadBack,
    ReconcileContext, ReconcileInput, Registered, Retry, Secret, Step, Unmanageable, reconcile,
    tests::{FakeKeys, desired_as, desired_with},
};

async fn run(
    desired: &Desired,
    read_back: ReadBack,
    server: &Server,
    fake_journal: &mut FakeJournal,
) -> Result<Outcome, Error> {
    run_on(desired, |occasion| occasion.read_back = read_back, server, fake_journal).await
}

async fn run_on(
    desired: &Desired,
    change: impl FnOnce(&mut ReconcileInput<'_>),
    server: &Server,
    fake_journal: &mut FakeJournal,
) -> Result<Outcome, Error> {
    let initial = Secret::new("initial".to_owned());
    let mut occasion = ReconcileInput::at(1000, Some(&initial));
    change(&mut occasion);
    reconcile(desired, &ReconcileContext { occasion, transport: server, keys: &FakeKeys::default() }, fake_journal)
        .await
}

async fn client_on(
    desired: &Desired,
    change: impl FnOnce(&mut ReconcileInput<'_>),
    server: &Server,
    fake_journal: &mut FakeJournal,
) -> Registered {
    match run_on(desired, change, server, fake_journal).await.unwrap() {
        Outcome::Registered(registered) => *registered,
        Outcome::Gone { .. } | Outcome::Retained { .. } => panic!("no client"),
    }
}

async fn registered(desired: &Desired, server: &Server, fake_journal: &mut FakeJournal) -> Registered {
    match run(desired, ReadBack::No, server, fake_journal).await.unwrap() {
        Outcome::Registered(registered) => *registered,
        Outcome::Gone { .. } | Outcome::Retained { .. } => panic!("no client"),
    }
}

async fn gone(server: &Server, fake_journal: &mut FakeJournal) -> Gone {
    match run(&desired_as(Deletion::Delete, |_| ()), ReadBack::No, server, fake_journal).await.unwrap() {
        Outcome::Gone { how, .. } => how,
        Outcome::Registered(_) | Outcome::Retained { .. } => panic!("not gone"),
    }
}

fn scoped(scope: &str) -> Desired {
    desired_with(|metadata| metadata.scope = Some(scope.to_owned()))
}

async fn error(desired: &Desired, server: &Server, fake_journal: &mut FakeJournal) -> Error {
    run(desired, ReadBack::No, server, fake_journal).await.err().unwrap()
}

#[tokio::test]
async fn registers_edits_and_deletes() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let first = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert!(first.changed && first.drift.is_empty() && first.faults.is_empty() && first.possible_orphan.is_none());
    assert_eq!(server.calls(), ["POST"]);

    let again = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert!(!again.changed && again.client_id == first.client_id && again.client_secret == first.client_secret);
    assert_eq!(server.calls(), ["POST"], "a run that finds all in order makes no call");

    for scope in ["b", "c", "d"] {
        let edited = registered(&scoped(scope), &server, &mut fake_journal).await;
        assert!(edited.changed && edited.client_id == first.client_id);
        assert_eq!(server.client(&first.client_id).metadata["scope"], scope);
    }
    assert_eq!(server.calls(), ["POST", "PUT", "PUT", "PUT"]);
    assert_eq!(gone(&server, &mut fake_journal).await, Gone::Confirmed);
    assert!(fake_journal.entry().is_blank() && server.is_empty());
    assert_eq!(gone(&server, &mut fake_journal).await, Gone::Absent);
}

#[tokio::test]
async fn retains_the_client_and_the_journal() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    let retain = desired_as(Deletion::Retain, |_| ());
    let Outcome::Retained { client_id } = run(&retain, ReadBack::Yes, &server, &mut fake_journal).await.unwrap() else {
        panic!("not retained")
    };
    assert_eq!(client_id, Some(client.client_id));
    assert_eq!(server.calls(), ["POST"]);
    assert!(fake_journal.entry().registration.is_some());
}

#[tokio::test]
async fn keeps_the_previous_token_until_the_new_one_worked() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    registered(&scoped("b"), &server, &mut fake_journal).await;
    assert_eq!(fake_journal.token(), "t2");
    assert_eq!(fake_journal.entry().previous_token.unwrap().expose(), "t1");
    run(&scoped("b"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    assert!(fake_journal.entry().previous_token.is_none(), "a read with the new token, and no newer one in the answer");
}

#[tokio::test]
async fn tries_the_previous_token_once_r2() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    registered(&scoped("b"), &server, &mut fake_journal).await;
    server.set_token(&client.client_id, "t1"); // the server lost its own rotation
    registered(&scoped("c"), &server, &mut fake_journal).await;
    assert_eq!(server.calls(), ["POST", "PUT", "PUT", "PUT"]);
    assert_eq!(fake_journal.token(), server.client(&client.client_id).token);

    server.set_token(&client.client_id, "else");
    let error = error(&scoped("d"), &server, &mut fake_journal).await;
    assert_eq!(error, Error::LockedOut { client_id: client.client_id, rotation_lost: false });
    assert_eq!(error.retry(), Retry::Never);
    assert_eq!(server.calls().len(), 6, "present and previous token, once each");
    assert!(fake_journal.entry().intent.is_none());
}

#[tokio::test]
async fn corrects_drift_that_somebody_made_but_not_for_ever() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let client = registered(&scoped("a b"), &server, &mut fake_journal).await;
    server.change(&client.client_id, "scope", json!("a"));
    run(&scoped("a b"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    assert_eq!(server.calls(), ["POST", "GET", "PUT"]);
    assert_eq!(server.client(&client.client_id).metadata["scope"], "a b");

    // The same drift after a clean read is somebody's work again.
    run(&scoped("a b"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    server.change(&client.client_id, "scope", json!("a"));
    run(&scoped("a b"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    assert_eq!(server.calls(), ["POST", "GET", "PUT", "GET", "GET", "PUT"]);

    // The same drift right after an update is the server's own will.
    server.change(&client.client_id, "scope", json!("a"));
    for _ in 0..3 {
        let Outcome::Registered(now) = run(&scoped("a b"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap()
        else {
            panic!("no client")
        };
        assert_eq!(now.drift.len(), 1);
    }
    assert_eq!(server.calls()[6..], ["GET", "GET", "GET"]);
}

#[tokio::test]
async fn reports_what_the_server_ignores_without_sending_it_again() {
    let (server, mut fake_journal) = (Server::ignoring("org"), FakeJournal::default());
    let desired = desired_with(|metadata| drop(metadata.vendor.insert("org".to_owned(), json!("team-a"))));
    for _ in 0..3 {
        let Outcome::Registered(now) = run(&desired, ReadBack::Yes, &server, &mut fake_journal).await.unwrap() else {
            panic!("no client")
        };
        let [drift] = now.drift.as_slice() else { panic!("{:?}", now.drift) };
        assert_eq!((drift.member.as_str(), &drift.kind), ("org", &DriftKind::Dropped));
    }
    assert_eq!(server.calls(), ["POST", "GET", "GET"]);
}

#[tokio::test]
async fn reports_a_possible_orphan_after_a_create_without_an_answer() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    server.fail(Fault::LoseAnswer);
    let first = error(&scoped("a"), &server, &mut fake_journal).await;
    assert!(matches!(&first, Error::Transport(error) if error.delivery() == Delivery::Unknown));
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    let orphan = client.possible_orphan.unwrap();
    assert_eq!((orphan.unanswered_creates, orphan.marker.software_id.as_str()), (1, "uid-1"));
    assert_eq!(server.len(), 2);
    assert!(
        registered(&scoped("a"), &server, &mut fake_journal).await.possible_orphan.is_some(),
        "told until it is dealt with"
    );
}

#[tokio::test]
async fn suspects_nothing_when_the_create_certainly_failed() {
    for fault in [Fault::NotSent, Fault::Status(400), Fault::Status(401), Fault::Status(429)] {
        let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
        server.fail(fault);
        error(&scoped("a"), &server, &mut fake_journal).await;
        assert!(fake_journal.entry().is_blank(), "{fault:?}");
        assert!(registered(&scoped("a"), &server, &mut fake_journal).await.possible_orphan.is_none(), "{fault:?}");
    }
    for fault in [Fault::LoseAnswer, Fault::Status(503), Fault::Status(200)] {
        let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
        server.fail(fault);
        error(&scoped("a"), &server, &mut fake_journal).await;
        assert!(registered(&scoped("a"), &server, &mut fake_journal).await.possible_orphan.is_some(), "{fault:?}");
    }
}

#[tokio::test]
async fn undoes_a_create_that_the_journal_certainly_refused() {
    for (fault, undone, left) in [(JournalFault::Conflict, true, 0), (JournalFault::Unavailable, false, 1)] {
        let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
        fake_journal.fail_stores_from(2, &JournalError::new(fault, "no"));
        let error = error(&scoped("a"), &server, &mut fake_journal).await;
        assert!(matches!(error, Error::Unrecorded { step: Step::Create, undone: u, .. } if u == undone), "{error:?}");
        assert_eq!(server.len(), left);
    }
}

#[tokio::test]
async fn offers_a_result_again_to_a_journal_that_did_not_answer() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    fake_journal.fail_stores(2..4, &JournalError::new(JournalFault::Unavailable, "busy"));
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert_eq!(fake_journal.token(), server.client(&client.client_id).token);
}

#[tokio::test]
async fn calls_nobody_without_a_stored_intent() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    fake_journal.fail_stores_from(1, &JournalError::new(JournalFault::Refused, "forbidden"));
    let error = error(&scoped("a"), &server, &mut fake_journal).await;
    assert!(matches!(error, Error::Journal(_)));
    assert_eq!(error.retry(), Retry::Never);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn takes_404_and_401_after_a_delete_as_gone_but_not_when_the_token_is_in_doubt_r1() {
    for (status, how) in
        [(204, Gone::Confirmed), (200, Gone::Confirmed), (404, Gone::NotFound), (401, Gone::TokenRefused)]
    {
        let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
        registered(&scoped("a"), &server, &mut fake_journal).await;
        server.fail(Fault::Status(status));
        assert_eq!(gone(&server, &mut fake_journal).await, how, "{status}");
    }

    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    server.fail(Fault::LoseAnswer);
    let delete = desired_as(Deletion::Delete, |_| ());
    assert!(matches!(error(&delete, &server, &mut fake_journal).await, Error::Transport(_)));
    assert_eq!(gone(&server, &mut fake_journal).await, Gone::NotFound, "the lost delete had worked");

    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    server.fail(Fault::LoseAnswer);
    error(&scoped("b"), &server, &mut fake_journal).await;
    for _ in 0..2 {
        // Told again until somebody clears the journal.
        let Outcome::Gone { how: _, possible_orphan } =
            run(&delete, ReadBack::No, &server, &mut fake_journal).await.unwrap()
        else {
            panic!("not given up")
        };
        assert_eq!(possible_orphan.unwrap().abandoned, ["c1"]);
    }
    assert_eq!(server.len(), 1);
}

#[tokio::test]
async fn remembers_the_doubt_through_a_delete_without_an_answer() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    server.fail(Fault::LoseAnswer);
    error(&scoped("b"), &server, &mut fake_journal).await;
    server.fail(Fault::Status(500));
    let delete = desired_as(Deletion::Delete, |_| ());
    assert!(matches!(error(&delete, &server, &mut fake_journal).await, Error::Unavailable { .. }));
    assert_eq!(gone(&server, &mut fake_journal).await, Gone::Abandoned);
}

#[tokio::test]
async fn tells_of_a_possible_orphan_until_the_end() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    server.fail(Fault::LoseAnswer);
    error(&scoped("a"), &server, &mut fake_journal).await;
    registered(&scoped("a"), &server, &mut fake_journal).await;
    let delete = desired_as(Deletion::Delete, |_| ());
    server.fail(Fault::Status(500));
    error(&delete, &server, &mut fake_journal).await;
    let again = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert_eq!(again.client_id, "c3", "the begun deletion was finished first");
    assert!(again.possible_orphan.is_some());
    let Outcome::Gone { possible_orphan, .. } = run(&delete, ReadBack::No, &server, &mut fake_journal).await.unwrap()
    else {
        panic!("not gone")
    };
    assert_eq!(possible_orphan.unwrap().unanswered_creates, 1);
}

#[tokio::test]
async fn takes_a_new_secret_from_a_read() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    server.renew_secret(&client.client_id);
    let Outcome::Registered(read) = run(&scoped("a"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap() else {
        panic!("no client")
    };
    assert!(read.changed && read.client_secret == Some(Secret::new("renewed".to_owned())));
    registered(&scoped("b"), &server, &mut fake_journal).await; // the server compares the secret in the PUT
}

#[tokio::test]
async fn deletes_nothing_that_it_may_not() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    server.fail(Fault::Status(405));
    let error = error(&desired_as(Deletion::Delete, |_| ()), &server, &mut fake_journal).await;
    assert_eq!(error, Error::Unmanageable { step: Step::Delete, reason: Unmanageable::NotSupported });
    assert!(fake_journal.entry().registration.is_some() && fake_journal.entry().intent.is_none());
}

#[tokio::test]
async fn keeps_a_client_of_a_server_without_management() {
    let (server, mut fake_journal) = (Server::without_management(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    let error = error(&scoped("b"), &server, &mut fake_journal).await;
    assert_eq!(error, Error::Unmanageable { step: Step::Update, reason: Unmanageable::NoToken });
    assert!(fake_journal.entry().intent.is_none());
}

#[tokio::test]
async fn never_calls_a_foreign_management_address() {
    let (server, mut fake_journal) = (Server::at_home("https://evil.test"), FakeJournal::default());
    let client = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert!(client.faults == [AnswerFault::ForeignManagementUri] && client.unmanaged);
    run(&scoped("a"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    assert!(matches!(error(&scoped("b"), &server, &mut fake_journal).await, Error::ForeignOrigin { .. }));
    assert_eq!(server.calls(), ["POST"]);
}

#[tokio::test]
async fn registers_missing_clients_anew_and_tells_refused_metadata() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&scoped("a"), &server, &mut fake_journal).await;
    server.fail(Fault::Status(404));
    let anew = registered(&scoped("b"), &server, &mut fake_journal).await;
    assert_eq!((anew.client_id.as_str(), anew.possible_orphan), ("c2", None), "404 says that it is gone");
    server.fail(Fault::Status(400));
    let refused = error(&scoped("c"), &server, &mut fake_journal).await;
    let Error::Refused { step: Step::Update, status: StatusCode::BAD_REQUEST, server: Some(told) } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(told.error, "invalid_client_metadata");
    assert!(fake_journal.entry().intent.is_none());
}
