//! Credentials are renewed without a moment in which none are good.

use std::sync::Arc;

use super::{
    FakeKeys, client_on, registered, run_on, scoped,
    server::{FakeJournal, Fault, Server},
};
use crate::{Desired, Outcome, ReadBack, Rotation, Secret, SecretExpiry, tests::own_keys};

fn every(interval: u64) -> Desired {
    scoped("a").with_rotation(Rotation { interval: Some(interval), overlap: 100 })
}

#[tokio::test]
async fn a_secret_is_renewed_by_a_second_client_and_the_first_outlives_the_overlap() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let first = registered(&every(500), &server, &mut fake_journal).await;
    assert_eq!((first.credentials_since, first.next_rotation, first.old_until), (Some(1000), Some(1500), None));
    let same = client_on(&every(500), |o| o.now = 1499, &server, &mut fake_journal).await;
    assert!(!same.changed && same.client_id == "c1");
    let second = client_on(&every(500), |o| o.now = 1500, &server, &mut fake_journal).await;
    assert!(second.changed && second.client_id == "c2" && second.possible_orphan.is_none());
    assert_eq!((second.retiring.as_slice(), second.old_until), (["c1".to_owned()].as_slice(), Some(1600)));
    assert_eq!(server.len(), 2, "both are good");
    client_on(&every(500), |o| (o.now, o.old_in_use) = (1600, true), &server, &mut fake_journal).await;
    assert_eq!(server.len(), 2, "somebody still uses the first");
    let last = client_on(&every(500), |o| o.now = 1600, &server, &mut fake_journal).await;
    assert!(last.retiring.is_empty() && last.client_id == "c2");
    assert_eq!((server.len(), server.calls()), (1, ["POST", "POST", "DELETE"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn a_request_is_fulfilled_once() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    for (request, client) in [(None, "c1"), (Some("x"), "c2"), (Some("x"), "c2")] {
        let now = client_on(&scoped("a"), |o| o.rotation_request = request, &server, &mut fake_journal).await;
        assert_eq!(now.client_id, client);
    }
}

#[tokio::test]
async fn a_secret_is_renewed_before_it_expires() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    server.expire(3000);
    let first = registered(&scoped("a"), &server, &mut fake_journal).await;
    assert_eq!((first.client_secret_expires_at, first.next_rotation), (Some(SecretExpiry::At(3000)), Some(2000)));
    assert_eq!(client_on(&scoped("a"), |o| o.now = 2000, &server, &mut fake_journal).await.client_id, "c2");
}

#[tokio::test]
async fn a_rotation_that_fails_leaves_what_is_good() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&every(500), &server, &mut fake_journal).await;
    for status in [401, 429, 400] {
        server.fail(Fault::Status(status));
        let still = client_on(&every(500), |o| o.now = 1500, &server, &mut fake_journal).await;
        assert!(still.client_id == "c1" && still.hindered.is_some() && still.possible_orphan.is_none(), "{status}");
    }
    server.fail(Fault::LoseAnswer);
    let still = client_on(&every(500), |o| o.now = 1500, &server, &mut fake_journal).await;
    assert_eq!((still.client_id.as_str(), still.possible_orphan.unwrap().unanswered_creates), ("c1", 1));
    let next = client_on(&every(500), |o| o.now = 1501, &server, &mut fake_journal).await;
    assert_eq!((next.client_id.as_str(), next.possible_orphan.unwrap().unanswered_creates), ("c3", 1));
}

#[tokio::test]
async fn a_replaced_client_that_cannot_be_deleted_is_reported() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&every(500), &server, &mut fake_journal).await;
    client_on(&every(500), |o| o.now = 1500, &server, &mut fake_journal).await;
    server.fail(Fault::Status(500));
    let waiting = client_on(&every(5000), |o| o.now = 1600, &server, &mut fake_journal).await;
    assert!(waiting.hindered.is_some() && waiting.retiring == ["c1"]);
    server.set_token("c1", "else");
    // A delete of ours had no recorded answer, so 401 would mean gone; after a clear 4xx it does not.
    server.fail(Fault::Status(400));
    client_on(&every(5000), |o| o.now = 1600, &server, &mut fake_journal).await;
    let mut entry = fake_journal.entry();
    entry.intent = None;
    fake_journal.put(&entry);
    let told = client_on(&every(5000), |o| o.now = 1600, &server, &mut fake_journal).await;
    assert_eq!(told.possible_orphan.unwrap().abandoned, ["c1"]);
}

#[tokio::test]
async fn keys_are_rotated_by_union() {
    let desired = own_keys().with_rotation(Rotation { interval: Some(500), overlap: 100 });
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    let kids = |server: &Server| -> Vec<String> {
        let keys = server.client("c1").metadata["jwks"]["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let keys = Arc::new(FakeKeys::default());
    let mut at = async |now: u64, fault: Option<Fault>| {
        if let Some(fault) = fault {
            server.fail(fault);
        }
        let initial = Secret::new("initial".to_owned());
        let occasion = crate::ReconcileInput::at(now, Some(&initial));
        let situation = crate::ReconcileContext { occasion, transport: &server, keys: keys.as_ref() };
        let outcome = crate::reconcile(&desired, &situation, &mut fake_journal).await;
        outcome.map(|outcome| match outcome {
            Outcome::Registered(client) => (client.key.unwrap().kid, client.next_rotation, client.old_until),
            Outcome::Gone { .. } | Outcome::Retained { .. } => panic!("no client"),
        })
    };
    assert_eq!(at(1000, None).await.unwrap(), ("k1".to_owned(), Some(1500), None));
    assert!(at(1500, Some(Fault::Status(503))).await.is_err());
    assert_eq!(kids(&server), ["k1"]);
    assert_eq!(
        at(1510, None).await.unwrap(),
        ("k2".to_owned(), Some(2010), Some(1610)),
        "the same key is offered again"
    );
    assert_eq!(kids(&server), ["k2", "k1"], "both are good");
    assert_eq!(at(1609, None).await.unwrap().0, "k2");
    assert_eq!(at(1610, None).await.unwrap(), ("k2".to_owned(), Some(2010), None));
    assert_eq!(kids(&server), ["k2"]);
    assert_eq!(server.calls(), ["POST", "PUT", "PUT", "PUT"]);
}

#[tokio::test]
async fn a_deleted_object_takes_replaced_clients_with_it() {
    let (server, mut fake_journal) = (Server::default(), FakeJournal::default());
    registered(&every(500), &server, &mut fake_journal).await;
    client_on(&every(500), |o| o.now = 1500, &server, &mut fake_journal).await;
    let delete = crate::tests::desired_as(crate::Deletion::Delete, |_| ());
    let Outcome::Gone { possible_orphan: None, .. } =
        run_on(&delete, |o| o.read_back = ReadBack::No, &server, &mut fake_journal).await.unwrap()
    else {
        panic!("not gone")
    };
    assert!(server.is_empty() && fake_journal.entry().is_blank());
}
