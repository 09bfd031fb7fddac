//! What a fuzzer calls; see the module of the same name in `policy`.

use crate::{Endpoint, InsecureHttp, JournalEntry, Registration};

/// A parser with its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: [Target; 3] = [
    ("endpoint", |data| drop(Endpoint::parse(&String::from_utf8_lossy(data), InsecureHttp::Allowed))),
    ("journal", journal),
    ("registration_answer", answer),
];

fn answer(data: &[u8]) {
    if let Ok(endpoint) = Endpoint::parse("https://login.example.com/reg", InsecureHttp::Refused) {
        drop(Registration::parse(data, &endpoint));
    }
}

fn journal(data: &[u8]) {
    if let Ok(entry) = JournalEntry::from_bytes(data) {
        let again = entry.to_bytes();
        assert!(JournalEntry::from_bytes(&again).is_ok(), "what was written can be read");
    }
}
