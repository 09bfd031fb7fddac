use serde_json::Value;

use super::*;

#[test]
fn computes_the_responses_of_the_rfc() {
    let text = include_str!("../../../../e2e/vectors/rfc-digest/digest.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    for case in vectors["digest"].as_array().unwrap() {
        let get = |name: &str| case[name].as_str().unwrap();
        let algorithm = if get("algorithm") == "MD5" { DigestAlgorithm::Md5 } else { DigestAlgorithm::Sha256 };
        let stored = hex(algorithm, format!("{}:{}:{}", get("username"), get("realm"), get("password")).as_bytes());
        let covered = Covered {
            method: get("method"),
            uri: get("uri"),
            nonce: get("nonce"),
            count: get("nc"),
            cnonce: get("cnonce"),
        };
        assert_eq!(covered.response(algorithm, &stored), get("response"), "{algorithm:?}");
    }
}

#[test]
fn reads_parameters_once_each() {
    let read = |text: &'static str| Parameters::read(text).map(|found| found.0.into_iter().collect::<Vec<_>>());
    let found = read(r#"username="a\"b", nc=00000001,qop=auth , uri="/x?a=1,b""#).unwrap();
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    assert_eq!(found, [("nc", "00000001"), ("qop", "auth"), ("uri", "/x?a=1,b"), ("username", "a\"b")]);
    for bad in ["", "a", "a=", "a=1 b=2", "a=1,a=2", "a=\"x", "a=\"x\"y", "=x", "username*=UTF-8''a", "a=b=c"] {
        assert!(read(bad).is_none(), "{bad}");
    }
}
