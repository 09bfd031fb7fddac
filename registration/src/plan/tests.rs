use serde_json::{Value, json};

use super::{Observed, ReadBack, plan};
use crate::{
    Deletion, Desired, Drift, DriftKind, Intent, JournalEntry, Registration, Step,
    tests::{desired_as, desired_with, endpoint},
};

fn registered(desired: &Desired) -> JournalEntry {
    let mut reported = desired.document().clone();
    reported.insert("client_id".to_owned(), json!("c1"));
    reported.insert("registration_access_token".to_owned(), json!("t1"));
    reported.insert("registration_client_uri".to_owned(), json!("https://login.example.com/reg/c1"));
    let body = Value::Object(reported).to_string();
    JournalEntry {
        registration: Registration::parse(body.as_bytes(), &endpoint()).ok(),
        last_sent: Some(desired.document().clone()),
        ..JournalEntry::default()
    }
}

fn intent(desired: &Desired, step: Step) -> Intent {
    Intent { step, marker: desired.marker().clone(), generation: 1, token_in_doubt: false }
}

fn steps(desired: &Desired, entry: &JournalEntry, read_back: ReadBack) -> Vec<Step> {
    plan(desired, &Observed::new(entry, read_back))
}

#[test]
fn plans_nothing_when_observed_equals_desired() {
    let desired = desired_with(|_| ());
    assert_eq!(steps(&desired, &registered(&desired), ReadBack::No), []);
}

#[test]
fn plans_by_the_table() {
    let keep = desired_with(|_| ());
    let edited = desired_with(|metadata| metadata.scope = Some("a".to_owned()));
    let delete = desired_as(Deletion::Delete, |_| ());
    let retain = desired_as(Deletion::Retain, |_| ());
    let blank = JournalEntry::default;
    let unfinished = |step| JournalEntry { intent: Some(intent(&keep, step)), ..registered(&keep) };
    let created = || JournalEntry { intent: Some(intent(&keep, Step::Create)), ..blank() };
    for (name, desired, entry, read_back, expected) in [
        ("nothing yet", &keep, blank(), ReadBack::No, vec![Step::Create]),
        ("nothing to read", &keep, blank(), ReadBack::Yes, vec![Step::Create]),
        ("create without end", &keep, created(), ReadBack::No, vec![Step::Create]),
        ("read wanted", &keep, registered(&keep), ReadBack::Yes, vec![Step::Read]),
        ("edited", &edited, registered(&keep), ReadBack::No, vec![Step::Update]),
        ("an update reads too", &edited, registered(&keep), ReadBack::Yes, vec![Step::Update]),
        ("update without end", &keep, unfinished(Step::Update), ReadBack::Yes, vec![Step::Update]),
        ("read without end", &keep, unfinished(Step::Read), ReadBack::No, vec![Step::Read]),
        ("read without end, edited", &edited, unfinished(Step::Read), ReadBack::No, vec![Step::Update]),
        ("wanted again", &keep, unfinished(Step::Delete), ReadBack::No, vec![Step::Delete, Step::Create]),
        ("delete", &delete, registered(&keep), ReadBack::Yes, vec![Step::Delete, Step::Forget]),
        ("delete without end", &delete, unfinished(Step::Delete), ReadBack::No, vec![Step::Delete, Step::Forget]),
        ("delete an unknown client", &delete, created(), ReadBack::No, vec![Step::Forget]),
        ("nothing to delete", &delete, blank(), ReadBack::Yes, vec![]),
        ("retain", &retain, registered(&keep), ReadBack::Yes, vec![]),
        ("retain, unfinished", &retain, unfinished(Step::Update), ReadBack::No, vec![]),
        ("retain nothing", &retain, blank(), ReadBack::No, vec![]),
    ] {
        assert_eq!(steps(desired, &entry, read_back), expected, "{name}");
    }
}

#[test]
fn updates_new_drift_but_not_drift_that_an_update_did_not_cure() {
    let desired = desired_with(|metadata| metadata.scope = Some("a b".to_owned()));
    let mut entry = registered(&desired);
    let narrowed = |scope: &str| Drift { member: "scope".to_owned(), kind: DriftKind::Changed(json!(scope)) };
    let report = |entry: &mut JournalEntry, scope: &str| {
        let registration = entry.registration.as_mut().unwrap();
        registration.reported.insert("scope".to_owned(), json!(scope));
    };
    report(&mut entry, "a");
    assert_eq!(steps(&desired, &entry, ReadBack::No), [Step::Update]);
    entry.known_drift = vec![narrowed("a")];
    assert_eq!(steps(&desired, &entry, ReadBack::No), []);
    report(&mut entry, "b");
    assert_eq!(steps(&desired, &entry, ReadBack::No), [Step::Update]);
}
