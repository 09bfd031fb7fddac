use serde_json::{Value, json};

use super::{ReadBack, plan};
use crate::{
    Deletion, Desired, Drift, DriftKind, DriftPolicy, Intent, JournalEntry, ManagementFailure, ObstacleKind,
    PossibleOrphan, Probe, ReconcileInput, Registration, RegistrationOrigin, ReplacedClient, Rotation, Secret, Step,
    tests::{FakeKeys, desired_as, desired_with, endpoint, own_keys},
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
    plan(desired, &ReconcileInput { read_back, ..ReconcileInput::at(1000, None) }, entry)
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
        ("an unknown client is told of before it is forgotten", &delete, created(), ReadBack::No, vec![]),
        (
            "nothing is left but the request",
            &delete,
            JournalEntry { fulfilled_request: Some("1".to_owned()), ..blank() },
            ReadBack::No,
            vec![Step::Forget],
        ),
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

fn secretive(expires_at: u64) -> JournalEntry {
    let desired = desired_with(|_| ());
    let mut entry = JournalEntry { credentials_since: Some(500), ..registered(&desired) };
    let registration = entry.registration.as_mut().unwrap();
    registration.client_secret = Some(Secret::new("s".to_owned()));
    registration.client_secret_expires_at = Some(match expires_at {
        0 => crate::SecretExpiry::Never,
        at => crate::SecretExpiry::At(at),
    });
    entry
}

#[test]
fn plans_rotation_of_secrets_by_a_second_client() {
    let every = |interval, overlap| desired_with(|_| ()).with_rotation(Rotation { interval, overlap });
    let retired = |until| {
        let mut entry = secretive(0);
        entry.retired.push(ReplacedClient { registration: entry.registration.clone().unwrap(), until });
        entry
    };
    let fulfilled = || JournalEntry { fulfilled_request: Some("a".to_owned()), ..secretive(0) };
    for (name, desired, entry, request, old_in_use, expected) in [
        ("no rotation", every(None, 100), secretive(0), None, false, vec![]),
        ("not yet", every(Some(501), 100), secretive(0), None, false, vec![]),
        ("interval over", every(Some(500), 100), secretive(0), None, false, vec![Step::Replace]),
        ("secret ends within the overlap", every(None, 100), secretive(1100), None, false, vec![Step::Replace]),
        ("secret ends later", every(None, 100), secretive(1101), None, false, vec![]),
        ("half of a short life is over", every(None, 10_000), secretive(1500), None, false, vec![Step::Replace]),
        ("half of a short life is left", every(None, 10_000), secretive(1502), None, false, vec![]),
        ("asked for", every(None, 100), secretive(0), Some("a"), false, vec![Step::Replace]),
        ("asked for and done", every(None, 100), fulfilled(), Some("a"), false, vec![]),
        ("asked for again", every(None, 100), fulfilled(), Some("b"), false, vec![Step::Replace]),
        ("one at a time", every(Some(1), 100), retired(1001), Some("b"), false, vec![]),
        ("its time is over", every(None, 100), retired(1000), None, false, vec![Step::Retire]),
        ("but somebody uses it", every(None, 100), retired(1000), None, true, vec![]),
    ] {
        let occasion = ReconcileInput { rotation_request: request, old_in_use, ..ReconcileInput::at(1000, None) };
        assert_eq!(plan(&desired, &occasion, &entry), expected, "{name}");
    }
}

#[test]
fn plans_rotation_of_keys_by_union() {
    let desired = own_keys().with_rotation(Rotation { interval: Some(500), overlap: 100 });
    let key = |kid: &str, until| FakeKeys::key(kid, until);
    let entry = |keys: Vec<_>, since| {
        let mut entry = JournalEntry { keys, credentials_since: Some(since), ..JournalEntry::default() };
        let document = desired.document_with(&entry);
        let reported = registered_with(&document);
        (entry.registration, entry.last_sent) = (Some(reported), Some(document));
        entry
    };
    let occasion = |now| ReconcileInput::at(now, None);
    let blank = JournalEntry::default();
    assert_eq!(plan(&desired, &occasion(0), &blank), [Step::AddKey, Step::Create]);
    let made = JournalEntry { keys: vec![key("k1", None)], ..blank };
    assert_eq!(plan(&desired, &occasion(0), &made), [Step::Create], "a key that was made is used");

    let one = entry(vec![key("k1", None)], 500);
    assert_eq!(plan(&desired, &occasion(999), &one), []);
    assert_eq!(plan(&desired, &occasion(1000), &one), [Step::AddKey]);
    let two = JournalEntry { keys: vec![key("k2", None), key("k1", None)], ..one };
    assert_eq!(plan(&desired, &occasion(1000), &two), [Step::Update]);
    assert_eq!(two.present_key().unwrap().kid, "k1", "until the server knows the new one");
    let union = entry(vec![key("k2", None), key("k1", Some(1100))], 1000);
    assert_eq!(union.present_key().unwrap().kid, "k2");
    assert_eq!(plan(&desired, &occasion(1099), &union), []);
    assert_eq!(plan(&desired, &occasion(1100), &union), [Step::DropKeys]);
    let mut unmanaged = union.clone();
    unmanaged.registration.as_mut().unwrap().registration_access_token = None;
    unmanaged.keys.truncate(1);
    unmanaged.last_sent = Some(desired.document_with(&unmanaged));
    assert_eq!(plan(&desired, &occasion(9999), &unmanaged), [], "it cannot be told of a new key");
    let used = ReconcileInput { old_in_use: true, ..occasion(1100) };
    assert_eq!(plan(&desired, &used, &union), []);
}

fn registered_with(document: &crate::Document) -> Registration {
    let mut reported = document.clone();
    reported.insert("client_id".to_owned(), json!("c1"));
    reported.insert("registration_access_token".to_owned(), json!("t1"));
    reported.insert("registration_client_uri".to_owned(), json!("https://login.example.com/reg/c1"));
    Registration::parse(Value::Object(reported).to_string().as_bytes(), &endpoint()).unwrap()
}

#[test]
fn plans_the_way_out_for_a_client_that_cannot_be_managed() {
    use ObstacleKind::{Missing, RotationLost, TokenRefused, Unmanaged};
    use Probe::{Alive, Gone, Unasked};
    let probed =
        || desired_with(|_| ()).at_issuer("https://login.example.com", Some("https://login.example.com/token"), "");
    let blind = || desired_with(|_| ());
    let deleting = || desired_as(Deletion::Delete, |_| ()).at_issuer("", Some("https://login.example.com/token"), "");
    let hindered = |kind, probe, renewed_in| JournalEntry {
        obstacle: Some(ManagementFailure { kind, probe }),
        renewed_in,
        ..secretive(0)
    };
    let (anew, struck) = (vec![Step::Abandon, Step::Create], vec![Step::Discard, Step::Create]);
    for (name, desired, entry, consent, expected) in vec![
        ("404, ask", probed(), hindered(Missing, Unasked, None), None, vec![Step::Probe]),
        ("401, ask", probed(), hindered(TokenRefused, Unasked, None), None, vec![Step::Probe]),
        ("404, nobody to ask", blind(), hindered(Missing, Unasked, None), None, struck.clone()),
        ("401, nobody to ask", blind(), hindered(TokenRefused, Unasked, None), None, vec![]),
        ("401, gone", probed(), hindered(TokenRefused, Gone, None), None, struck.clone()),
        ("401, alive", probed(), hindered(TokenRefused, Alive, None), None, vec![]),
        ("404, alive", probed(), hindered(Missing, Alive, None), None, vec![]),
        ("gone again in this generation", probed(), hindered(Missing, Gone, Some(1)), None, vec![]),
        ("gone again, but agreed", probed(), hindered(Missing, Gone, Some(1)), Some("c1"), anew.clone()),
        ("gone again in a later generation", probed(), hindered(Missing, Gone, Some(0)), None, struck),
        ("an answer was lost, alive", probed(), hindered(RotationLost, Alive, None), None, anew.clone()),
        ("an answer was lost, nobody to ask", blind(), hindered(RotationLost, Unasked, None), None, anew.clone()),
        ("401, alive, agreed", probed(), hindered(TokenRefused, Alive, None), Some("c1"), anew),
        ("agreed about another", probed(), hindered(TokenRefused, Alive, None), Some("c0"), vec![]),
        ("no management, nothing to do", probed(), hindered(Unmanaged, Unasked, None), Some("c1"), vec![]),
        ("delete, alive", deleting(), hindered(TokenRefused, Alive, None), None, vec![]),
        ("delete, alive, agreed", deleting(), hindered(TokenRefused, Alive, None), Some("c1"), vec![Step::Abandon]),
        ("delete, gone", deleting(), hindered(TokenRefused, Gone, Some(1)), None, vec![Step::Discard]),
        ("delete, an answer was lost", deleting(), hindered(RotationLost, Alive, None), None, vec![Step::Abandon]),
        (
            "delete, no management",
            deleting(),
            hindered(Unmanaged, Unasked, None),
            None,
            vec![Step::Delete, Step::Forget],
        ),
        (
            "delete, no management, agreed",
            deleting(),
            hindered(Unmanaged, Unasked, None),
            Some("c1"),
            vec![Step::Abandon],
        ),
    ] {
        let occasion = ReconcileInput { consent, ..ReconcileInput::at(1000, None) };
        assert_eq!(plan(&desired, &occasion, &entry), expected, "{name}");
    }
}

#[test]
fn an_edit_without_management_needs_consent() {
    let edited = desired_with(|metadata| metadata.scope = Some("a".to_owned()));
    let entry = JournalEntry {
        obstacle: Some(ManagementFailure { kind: ObstacleKind::Unmanaged, probe: Probe::Unasked }),
        ..secretive(0)
    };
    let consent = |consent| ReconcileInput { consent, ..ReconcileInput::at(1000, None) };
    assert_eq!(plan(&edited, &consent(None), &entry), [Step::Update], "it is asked again, and fails again");
    assert_eq!(plan(&edited, &consent(Some("c1")), &entry), [Step::Abandon, Step::Create]);
}

#[test]
fn another_issuer_needs_consent() {
    let moved = desired_with(|_| ()).at_issuer("https://new.example.com", None, "");
    let home = RegistrationOrigin {
        issuer: "https://old.example.com".to_owned(),
        endpoint: String::new(),
        token_endpoint: None,
        trust: String::new(),
    };
    let entry = JournalEntry { home: Some(home), ..secretive(0) };
    let consent = |consent| ReconcileInput { consent, read_back: ReadBack::Yes, ..ReconcileInput::at(1000, None) };
    assert_eq!(plan(&moved, &consent(None), &entry), []);
    assert_eq!(plan(&moved, &consent(Some("c1")), &entry), [Step::Abandon, Step::Create]);
}

#[test]
fn drift_may_be_left_as_it_is() {
    let desired = desired_with(|metadata| metadata.scope = Some("a b".to_owned()));
    let mut entry = registered(&desired);
    entry.registration.as_mut().unwrap().reported.insert("scope".to_owned(), json!("a"));
    assert_eq!(steps(&desired, &entry, ReadBack::No), [Step::Update]);
    assert_eq!(steps(&desired.with_drift_policy(DriftPolicy::Report), &entry, ReadBack::No), []);
}

#[test]
fn what_may_have_been_lost_is_told_before_the_end() {
    let delete = desired_as(Deletion::Delete, |_| ());
    let orphan = PossibleOrphan { marker: delete.marker().clone(), unanswered_creates: 1, abandoned: Vec::new() };
    let entry = JournalEntry { possible_orphan: Some(orphan), ..JournalEntry::default() };
    assert_eq!(steps(&delete, &entry, ReadBack::No), []);
}
