//! What a fuzzer calls: one function for each parser of this crate that reads what others wrote. A target must not panic,
//! overflow its stack, or take long; what it asserts beyond that stands in it. `fuzz/corpus` has what was found so far.

use crate::{
    CanonicalPath, Cidr, ClaimPath, Hostname, KeySet, PathTemplate, gate, parse_api_keys, parse_htdigest,
    parse_htpasswd,
};

/// A parser with its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: [Target; 8] = [
    ("api_keys", |data| drop(parse_api_keys(&text(data)))),
    ("claim_path", |data| drop(ClaimPath::try_from(text(data)))),
    ("gates", gates),
    ("host", host),
    ("key_set", |data| drop(KeySet::parse(data))),
    ("network", |data| drop(Cidr::try_from(text(data)))),
    ("password_files", |data| {
        drop(parse_htpasswd(&text(data)));
        drop(parse_htdigest(&text(data), "realm"));
    }),
    ("path", path),
];

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn gates(data: &[u8]) {
    let text = text(data);
    let places = [gate::cedar(&text).err(), gate::json_path(&text).err()];
    for (offset, _) in places.into_iter().flatten() {
        assert!(offset <= text.len(), "a place outside of the text");
    }
}

fn host(data: &[u8]) {
    if let Ok(host) = Hostname::parse(&text(data)) {
        assert_eq!(Hostname::parse(host.as_str()).as_ref(), Ok(&host), "a canonical name is its own canonical form");
    }
}

fn path(data: &[u8]) {
    let text = text(data);
    drop(PathTemplate::try_from(text.clone()));
    let prefix = CanonicalPath::literal_prefix(&text);
    assert_eq!(CanonicalPath::parse(prefix.as_str()).as_ref(), Ok(&prefix), "a prefix is canonical");
    if let Ok(path) = CanonicalPath::parse(&text) {
        assert_eq!(CanonicalPath::parse(path.as_str()).as_ref(), Ok(&path), "a canonical path is a fixed point (P5)");
    }
}
