use serde_json::{Value, json};

use super::{Intent, InvalidEntry, JournalEntry, JournalError, JournalFault, PossibleOrphan, RegistrationOrigin};
use crate::{
    Drift, DriftKind, ManagementFailure, Marker, ObstacleKind, Probe, Registration, ReplacedClient, Secret, Step,
    tests::{FakeKeys, desired_with, endpoint},
};

fn marker() -> Marker {
    desired_with(|_| ()).marker().clone()
}

fn full() -> JournalEntry {
    let answer = json!({
        "client_id": "c1", "client_secret": "s1", "client_secret_expires_at": 99, "client_id_issued_at": "bad",
        "registration_access_token": "t2", "registration_client_uri": "https://login.example.com/reg/c1", "scope": "a",
    });
    JournalEntry {
        intent: Some(Intent { step: Step::Update, marker: marker(), generation: 7, token_in_doubt: true }),
        registration: Registration::parse(answer.to_string().as_bytes(), &endpoint()).ok(),
        previous_token: Some(Secret::new("t1".to_owned())),
        last_sent: Some(desired_with(|_| ()).document().clone()),
        known_drift: vec![
            Drift { member: "scope".to_owned(), kind: DriftKind::Changed(json!("a")) },
            Drift { member: "org".to_owned(), kind: DriftKind::Dropped },
        ],
        possible_orphan: Some(PossibleOrphan {
            marker: marker(),
            unanswered_creates: 2,
            abandoned: vec!["c0".to_owned()],
        }),
        home: Some(RegistrationOrigin {
            issuer: "https://login.example.com".to_owned(),
            endpoint: "https://login.example.com/reg".to_owned(),
            token_endpoint: Some("https://login.example.com/token".to_owned()),
            trust: "PEM".to_owned(),
        }),
        keys: vec![FakeKeys::key("k2", None), FakeKeys::key("k1", Some(7))],
        credentials_since: Some(5),
        retired: vec![ReplacedClient {
            registration: Registration::parse(answer.to_string().as_bytes(), &endpoint()).unwrap(),
            until: 9,
        }],
        fulfilled_request: Some("again".to_owned()),
        obstacle: Some(ManagementFailure { kind: ObstacleKind::RotationLost, probe: Probe::Alive }),
        renewed_in: Some(6),
        asked: Some("orders:read".to_owned()),
    }
}

#[test]
fn reads_back_what_it_wrote() {
    for entry in [full(), JournalEntry::default()] {
        let read = JournalEntry::from_bytes(&entry.to_bytes()).unwrap();
        assert!(read.registration == entry.registration);
        assert!(read.previous_token == entry.previous_token);
        assert_eq!(read.intent, entry.intent);
        assert_eq!((&read.last_sent, &read.asked), (&entry.last_sent, &entry.asked));
        assert_eq!(read.known_drift, entry.known_drift);
        assert_eq!(read.possible_orphan, entry.possible_orphan);
        assert!(read.keys == entry.keys && read.retired == entry.retired && read.is_blank() == entry.is_blank());
        assert_eq!(
            (read.home, read.credentials_since, read.fulfilled_request, read.obstacle, read.renewed_in),
            (
                entry.home.clone(),
                entry.credentials_since,
                entry.fulfilled_request.clone(),
                entry.obstacle.clone(),
                entry.renewed_in
            )
        );
    }
}

#[test]
fn refuses_bytes_that_it_did_not_write() {
    let mut unknown: Value = serde_json::from_slice(&full().to_bytes()).unwrap();
    unknown["colour"] = json!("red");
    let mut deep: Value = serde_json::from_slice(&full().to_bytes()).unwrap();
    deep["registration"]["colour"] = json!("red");
    let mut address: Value = serde_json::from_slice(&full().to_bytes()).unwrap();
    address["registration"]["registration_client_uri"] = json!("/reg/c1");
    for (bytes, fault) in [
        (String::new(), InvalidEntry::Malformed),
        ("{}".to_owned(), InvalidEntry::Malformed),
        ("{\"version\": 3, \"new\": true}".to_owned(), InvalidEntry::Version(3)),
        (unknown.to_string(), InvalidEntry::Malformed),
        (deep.to_string(), InvalidEntry::Malformed),
        (address.to_string(), InvalidEntry::Malformed),
        (" ".repeat(1024 * 1024 + 1), InvalidEntry::TooLarge),
    ] {
        assert_eq!(JournalEntry::from_bytes(bytes.as_bytes()).err(), Some(fault));
    }
}

#[test]
fn suspects_a_create_without_a_recorded_answer() {
    assert_eq!(JournalEntry::default().suspected(), None);
    let intent = |step| Some(Intent { step, marker: marker(), generation: 1, token_in_doubt: false });
    let entry = JournalEntry { intent: intent(Step::Create), ..JournalEntry::default() };
    assert_eq!(entry.suspected().unwrap().unanswered_creates, 1);
    let entry = JournalEntry { intent: intent(Step::Create), ..full() };
    assert_eq!(entry.suspected().unwrap().unanswered_creates, 3);
    assert_eq!(full().suspected().unwrap().unanswered_creates, 2);
}

#[test]
fn abandons_a_client_without_forgetting_its_name() {
    let entry = full().abandon(&marker());
    assert!(entry.registration.is_none() && entry.intent.is_none() && entry.last_sent.is_none());
    assert_eq!(entry.suspected().unwrap().abandoned, ["c0", "c1"]);
    let again = entry.abandon(&marker());
    assert_eq!(again.suspected().unwrap().abandoned, ["c0", "c1"]);

    let mut long = full();
    long.possible_orphan.as_mut().unwrap().abandoned = (0..40).map(|n| n.to_string()).collect();
    let kept = long.abandon(&marker()).suspected().unwrap().abandoned;
    assert_eq!((kept.len(), kept.last().unwrap().as_str()), (16, "c1"));
}

#[test]
fn takes_control_characters_out_of_details() {
    let error = JournalError::new(JournalFault::Refused, "a\nb\u{202e}c");
    assert_eq!(error.to_string(), "journal (Refused): a b c");
}
