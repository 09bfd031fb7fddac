//! What holds for any bytes of a server or a journal, and for any plan.

use http::Response;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    Deletion, JournalEntry, ManagementFailure, ObstacleKind, Probe, ReadBack, ReconcileInput, Registration, Secret,
    Step,
    client::{described, failure},
    plan, probe,
    tests::{desired_as, endpoint},
};

/// JSON as servers write it, and as they should not.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((member(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("client_id".to_owned()),
        Just("client_secret".to_owned()),
        Just("client_secret_expires_at".to_owned()),
        Just("registration_access_token".to_owned()),
        Just("registration_client_uri".to_owned()),
        Just("scope".to_owned()),
        Just("jwks".to_owned()),
        Just("error".to_owned()),
        "[a-z_]{1,12}",
    ]
}

fn entry(client: bool, obstacle: Option<(ObstacleKind, Probe)>, renewed_in: Option<i64>) -> JournalEntry {
    let answer = json!({
        "client_id": "c1", "client_secret": "s", "client_secret_expires_at": 0, "registration_access_token": "t",
        "registration_client_uri": "https://login.example.com/reg/c1",
    });
    let registration = Registration::parse(answer.to_string().as_bytes(), &endpoint()).ok().filter(|_| client);
    let obstacle = obstacle.map(|(kind, probe)| ManagementFailure { kind, probe });
    JournalEntry { registration, obstacle, renewed_in, ..JournalEntry::default() }
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(status in 100u16..600, body in prop_oneof![json_value().prop_map(|v| v.to_string()), ".{0,80}"]) {
        let response = Response::builder().status(status).header("retry-after", "9").body(body.into_bytes()).unwrap();
        let secrets = [Secret::new("s3cret".to_owned())];
        let secrets: Vec<&Secret> = secrets.iter().collect();
        for step in [Step::Create, Step::Update, Step::Read, Step::Delete, Step::Retire] {
            drop(described(step, &response, &endpoint(), Some("c1"), &secrets));
            let told = failure(step, &response, Some("c1"), &secrets).to_string();
            prop_assert!(!told.contains("s3cret") && !told.chars().any(char::is_control));
        }
        prop_assert!(status != 503 || probe::verdict(&response).is_none());
    }

    #[test]
    fn any_bytes_are_a_journal_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), value in json_value()) {
        drop(JournalEntry::from_bytes(&bytes));
        drop(JournalEntry::from_bytes(value.to_string().as_bytes()));
    }

    #[test]
    fn no_plan_makes_a_second_client_or_loses_one(
        client: bool,
        kind in prop::sample::select(vec![
            None, Some(ObstacleKind::Missing), Some(ObstacleKind::RotationLost), Some(ObstacleKind::TokenRefused),
            Some(ObstacleKind::Unmanaged),
        ]),
        probed in prop::sample::select(vec![Probe::Alive, Probe::Gone, Probe::Unasked]),
        renewed in prop::option::of(0i64..3),
        consent: bool,
        read: bool,
        deletion in prop::sample::select(vec![Deletion::Delete, Deletion::Keep, Deletion::Retain]),
        scope in prop::option::of("[a-z]{1,4}"),
    ) {
        let desired = desired_as(deletion, |metadata| metadata.scope = scope);
        let entry = entry(client, kind.map(|kind| (kind, probed)), renewed);
        let occasion = ReconcileInput {
            consent: consent.then_some("c1"),
            read_back: if read { ReadBack::Yes } else { ReadBack::No },
            ..ReconcileInput::at(1000, None)
        };
        let steps = plan(&desired, &occasion, &entry);
        let creates = steps.iter().filter(|step| **step == Step::Create).count();
        let frees = steps.iter().any(|step| matches!(step, Step::Abandon | Step::Delete | Step::Discard));
        prop_assert!(creates <= 1 && (creates == 0 || !client || frees), "{steps:?}");
        // What may be alive is given up by consent, or when an answer of ours was lost.
        let given_up = steps.contains(&Step::Abandon);
        prop_assert!(!given_up || consent || kind == Some(ObstacleKind::RotationLost), "{steps:?}");
        let struck = steps.contains(&Step::Discard);
        prop_assert!(!struck || probed == Probe::Gone || kind == Some(ObstacleKind::Missing), "{steps:?}");
        prop_assert!(deletion != Deletion::Retain || steps.is_empty());
    }
}
