//! Clients that cannot be managed any more.

use super::{
    client_on, error, registered, run, run_on, scoped,
    server::{FakeJournal, Fault, Server},
};
use crate::{Desired, Error, Gone, Outcome, ReadBack, Retry, Secret, tests::desired_as};

const TOKEN: &str = "https://login.example.com/token";

fn probed(scope: &str) -> Desired {
    scoped(scope).at_issuer("https://login.example.com", Some(TOKEN), "")
}

#[tokio::test]
async fn a_client_deleted_at_the_server_is_probed_and_registered_anew_once() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    server.delete("c1");
    let anew = client_on(&probed("a"), |o| o.read_back = ReadBack::Yes, &server, &mut fake_journal).await;
    assert_eq!((anew.client_id.as_str(), anew.possible_orphan), ("c2", None));
    assert_eq!(server.calls(), ["POST", "GET", "PROBE", "POST"]);

    server.delete("c2");
    for _ in 0..2 {
        let error = run(&probed("a"), ReadBack::No, &server, &mut fake_journal).await;
        assert!(error.is_ok(), "nobody looked yet");
    }
    let twice = run(&probed("a"), ReadBack::Yes, &server, &mut fake_journal).await.err();
    assert_eq!(twice, Some(Error::Missing { client_id: "c2".to_owned() }), "somebody does not want it");
    let again = run(&probed("a"), ReadBack::No, &server, &mut fake_journal).await.err().unwrap();
    assert_eq!(again.retry(), Retry::Never);
    let agreed = client_on(&probed("a"), |o| o.consent = Some("c2"), &server, &mut fake_journal).await;
    assert_eq!(agreed.client_id, "c3");
}

#[tokio::test]
async fn a_client_that_is_alive_is_given_up_only_by_consent() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    server.set_token("c1", "else");
    for consent in [None, Some("c0")] {
        let refused = run_on(&probed("b"), |o| o.consent = consent, &server, &mut fake_journal).await.err();
        assert_eq!(refused, Some(Error::LockedOut { client_id: "c1".to_owned(), rotation_lost: false }));
    }
    assert_eq!(server.calls(), ["POST", "PUT", "PROBE"], "and it is not asked again and again");
    let agreed = client_on(&probed("b"), |o| o.consent = Some("c1"), &server, &mut fake_journal).await;
    assert_eq!((agreed.client_id.as_str(), server.len()), ("c2", 2));
    assert_eq!(agreed.possible_orphan.unwrap().abandoned, ["c1"]);
}

#[tokio::test]
async fn a_lock_that_was_lifted_is_noticed() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    let token = fake_journal.token();
    server.set_token("c1", "else");
    assert!(run(&probed("b"), ReadBack::No, &server, &mut fake_journal).await.is_err());
    server.set_token("c1", &token);
    let client = client_on(&probed("b"), |o| o.read_back = ReadBack::Yes, &server, &mut fake_journal).await;
    assert_eq!((client.client_id.as_str(), fake_journal.entry().obstacle), ("c1", None));
    assert_eq!(server.client("c1").metadata["scope"], "b");
}

#[tokio::test]
async fn a_probe_without_a_clear_answer_changes_nothing_r3() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    server.delete("c1");
    assert!(run(&probed("b"), ReadBack::No, &server, &mut fake_journal).await.is_ok());
    server.delete("c2");
    server.fail(Fault::Status(404)); // the update
    let _gone = error(&probed("c"), &server, &mut fake_journal).await;
    assert_eq!(server.len(), 0, "only once in a generation");

    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    server.delete("c1");
    server.fail_at("PROBE", Fault::Status(503));
    let unclear = error(&probed("b"), &server, &mut fake_journal).await;
    assert_eq!((unclear.retry(), server.len()), (Retry::Later, 0));
    assert_eq!(registered(&probed("b"), &server, &mut fake_journal).await.client_id, "c2");
}

#[tokio::test]
async fn a_delete_that_is_refused_is_probed_first() {
    let delete = || desired_as(crate::Deletion::Delete, |_| ()).at_issuer("", Some(TOKEN), "");
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    server.delete("c1");
    let Outcome::Gone { how, possible_orphan: None } =
        run(&delete(), ReadBack::No, &server, &mut fake_journal).await.unwrap()
    else {
        panic!("not gone")
    };
    assert_eq!((how, fake_journal.entry().is_blank()), (Gone::Probed, true));

    registered(&probed("a"), &server, &mut fake_journal).await;
    server.set_token("c2", "else");
    assert!(matches!(
        error(&delete(), &server, &mut fake_journal).await,
        Error::LockedOut { rotation_lost: false, .. }
    ));
    let Outcome::Gone { how, possible_orphan: Some(orphan) } =
        run_on(&delete(), |o| o.consent = Some("c2"), &server, &mut fake_journal).await.unwrap()
    else {
        panic!("not given up")
    };
    assert_eq!((how, orphan.abandoned), (Gone::Abandoned, vec!["c2".to_owned()]));
}

#[tokio::test]
async fn without_management_a_client_is_replaced_by_consent() {
    let (server, mut fake_journal) = (Server::without_management(), FakeJournal::default());
    let first = registered(&probed("a"), &server, &mut fake_journal).await;
    assert!(first.unmanaged);
    run(&probed("a"), ReadBack::Yes, &server, &mut fake_journal).await.unwrap();
    assert_eq!(server.calls(), ["POST"], "what cannot be read is not read");
    assert!(matches!(error(&probed("b"), &server, &mut fake_journal).await, Error::Unmanageable { .. }));
    let second = client_on(&probed("b"), |o| o.consent = Some("c1"), &server, &mut fake_journal).await;
    assert_eq!((second.client_id.as_str(), second.possible_orphan.unwrap().abandoned), ("c2", vec!["c1".to_owned()]));
}

#[tokio::test]
async fn another_issuer_is_another_client_and_needs_consent() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&probed("a"), &server, &mut fake_journal).await;
    let moved = scoped("a").at_issuer("https://other.example.com", None, "");
    let told = error(&moved, &server, &mut fake_journal).await;
    assert!(
        matches!(&told, Error::AnotherIssuer { registered_at, .. } if registered_at == "https://login.example.com")
    );
    assert_eq!((told.retry(), server.calls().len()), (Retry::Never, 1));
    assert_eq!(client_on(&moved, |o| o.consent = Some("c1"), &server, &mut fake_journal).await.client_id, "c2");
}

#[tokio::test]
async fn a_software_statement_travels_with_create_and_update() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let stated = |scope: &str| scoped(scope).with_software_statement(Secret::new("a.b.c".to_owned()));
    registered(&stated("a"), &server, &mut fake_journal).await;
    registered(&stated("b"), &server, &mut fake_journal).await;
    assert_eq!(server.client("c1").metadata["software_statement"], "a.b.c");
    assert!(!fake_journal.entry().last_sent.unwrap().contains_key("software_statement"));
}
