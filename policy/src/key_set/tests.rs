use super::*;

fn parse(keys: &str) -> (KeySet, Vec<&'static str>) {
    let (set, faults) = KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes()).unwrap();
    (set, faults.into_iter().map(|fault| fault.reason).collect())
}

fn rsa_key(bytes: usize, e: &str) -> String {
    let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"{e}"}}"#)
}

#[test]
fn a_bad_key_does_not_spoil_the_others() {
    let (set, faults) = parse(&format!(r#"{{"kty":"oct","k":"AA"}},42,{}"#, rsa_key(256, "AQAB")));
    assert_eq!((set.keys().len(), faults.len()), (1, 2));
    assert_eq!(set.keys()[0].algorithm, SignatureAlgorithm::RS256);
}

#[test]
fn bounds_rsa_keys_j17() {
    for (bytes, e, good) in [
        (256, "AQAB", true),
        (1024, "AQAB", true),
        (255, "AQAB", false),
        (1025, "AQAB", false),
        (256, "AQ", false),
        (256, "Ag", false),
        (256, "AQAAAAE", false),
        (256, "", false),
    ] {
        assert_eq!(parse(&rsa_key(bytes, e)).0.keys().len() == 1, good, "{bytes} {e}");
    }
}

#[test]
fn binds_the_algorithm_to_the_key_j2() {
    let point = URL_SAFE_NO_PAD.encode([7; 32]);
    let ec = |alg: &str| format!(r#"{{"kty":"EC","crv":"P-256","alg":"{alg}","x":"{point}","y":"{point}"}}"#);
    assert_eq!(parse(&ec("ES256")).0.keys().len(), 1);
    for alg in ["HS256", "RS256", "none", "es256", ""] {
        assert!(parse(&ec(alg)).0.keys().is_empty(), "{alg}");
    }
}

#[test]
fn j1_every_algorithm_has_its_name_and_only_that() {
    use SignatureAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    for (algorithm, name) in [
        (RS256, "RS256"),
        (RS384, "RS384"),
        (RS512, "RS512"),
        (PS256, "PS256"),
        (PS384, "PS384"),
        (PS512, "PS512"),
        (ES256, "ES256"),
        (ES384, "ES384"),
        (EdDSA, "EdDSA"),
    ] {
        assert_eq!((algorithm.as_str(), SignatureAlgorithm::parse(name)), (name, Some(algorithm)));
        assert_eq!(SignatureAlgorithm::parse(&name.to_lowercase()), None);
    }
}

#[test]
fn points_have_the_length_of_their_curve_in_both_coordinates() {
    let text = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
    let ec = |curve: &str, x: usize, y: usize| {
        parse(&format!(r#"{{"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, text(x), text(y))).0.keys().len()
    };
    for (curve, right, wrong) in [("P-256", 32, 48), ("P-384", 48, 32)] {
        assert_eq!(ec(curve, right, right), 1, "{curve}");
        for (x, y) in [(right, wrong), (wrong, right), (wrong, wrong), (right, right - 1), (right + 1, right)] {
            assert_eq!(ec(curve, x, y), 0, "{curve} {x} {y}");
        }
    }
    let okp = |bytes: usize| parse(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, text(bytes))).0.keys().len();
    assert_eq!((okp(31), okp(32), okp(33)), (0, 1, 0));
}

#[test]
fn a_key_set_is_told_as_it_was_read() {
    let (ec, okp) = (URL_SAFE_NO_PAD.encode([7; 48]), URL_SAFE_NO_PAD.encode([7; 32]));
    let n = URL_SAFE_NO_PAD.encode(vec![0xff; 256]);
    let keys = [
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{okp}","y":"{okp}","alg":"ES256","use":"sig","kid":"a"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-384","x":"{ec}","y":"{ec}","alg":"ES384","use":"sig"}}"#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{okp}","alg":"EdDSA","use":"sig"}}"#),
        format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"PS256","use":"sig","kid":"r"}}"#),
    ];
    let read: Vec<serde_json::Value> = keys.iter().map(|key| serde_json::from_str(key).unwrap()).collect();
    assert_eq!(parse(&keys.join(",")).0.to_jwks().collect::<Vec<_>>(), read);
}

#[test]
fn j17_a_modulus_has_2048_bits_and_not_one_less() {
    let key = |first: u8| {
        let mut modulus = vec![0xff; 256];
        modulus[0] = first;
        parse(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode(modulus))).0.keys().len()
    };
    assert_eq!((key(0x80), key(0x7f)), (1, 0));
    let exponent = |e: &str| parse(&rsa_key(256, e)).0.keys().len();
    // Of four bytes, and of five.
    assert_eq!((exponent("AQAAAQ"), exponent("AQAAAAE")), (1, 0));
}

#[test]
fn j17_moduli_with_the_fingerprint_of_a_broken_generator_are_refused() {
    // A power of 65537 is one modulo every prime.
    let power = (0..128).fold(vec![1_u8], |number, _| {
        let mut carry = 0_u64;
        let mut product: Vec<u8> = number
            .iter()
            .rev()
            .map(|byte| {
                let sum = u64::from(*byte) * 65_537 + carry;
                carry = sum >> 8;
                u8::try_from(sum & 0xff).unwrap()
            })
            .collect();
        while carry > 0 {
            product.push(u8::try_from(carry & 0xff).unwrap());
            carry >>= 8;
        }
        product.reverse();
        product
    });
    let read =
        |modulus: &[u8]| parse(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode(modulus)));
    let (set, faults) = read(&power);
    assert!(set.keys().is_empty() && faults[0].contains("ROCA"), "{faults:?}");
    // One more is no such number any more.
    let mut next = power;
    *next.last_mut().unwrap() = next.last().unwrap().wrapping_add(2);
    assert_eq!(read(&next).0.keys().len(), 1);
}

#[test]
fn leaves_out_encryption_keys_and_private_keys() {
    let point = URL_SAFE_NO_PAD.encode([7; 32]);
    let key = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{point}"{more}}}"#);
    assert!(parse(&key(r#","use":"enc""#)).0.keys().is_empty());
    assert!(parse(&key(r#","key_ops":["sign"]"#)).0.keys().is_empty());
    assert!(parse(&key(r#","d":"AA""#)).0.keys().is_empty());
}

#[test]
fn fault_07_keys_of_one_identifier_are_all_kept() {
    let key = |kid: &str, byte: u8| {
        let point = URL_SAFE_NO_PAD.encode([byte; 32]);
        format!(r#"{{"kty":"OKP","crv":"Ed25519"{kid},"x":"{point}"}}"#)
    };
    for kid in ["", r#","kid":"a""#] {
        let (set, faults) = parse(&format!("{},{},{}", key(kid, 7), key(kid, 8), key(kid, 7)));
        assert_eq!((set.keys().len(), faults.len()), (2, 0), "{kid}: the copy adds nothing and loses nothing");
    }
    let many: Vec<_> = (0..66).map(|byte| key("", byte)).collect();
    let (set, faults) = parse(&many.join(","));
    assert_eq!((set.keys().len(), faults), (64, vec!["more than 64 keys"; 2]));
}

#[test]
fn fault_08_zero_octets_before_a_modulus_are_taken_away() {
    let key = |zeros: usize, bytes: usize, e: &str| {
        let n = URL_SAFE_NO_PAD.encode([vec![0; zeros], vec![0xff; bytes]].concat());
        parse(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#))
    };
    let (plain, _) = key(0, 256, "AQAB");
    for zeros in [1, 2, 40] {
        assert_eq!(key(zeros, 256, "AAEAAQ").0, plain, "{zeros} octets; the exponent has one too");
    }
    assert_eq!(key(1, 255, "AQAB").0.keys().len(), 0, "zeros make no key longer");
    assert_eq!(key(0, 256, "AAAB").0.keys().len(), 0, "an exponent of 1");
    assert_eq!(key(0, 256, "").0.keys().len(), 0);
}

#[test]
fn fault_09_what_is_left_out_is_named_with_its_reason() {
    let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
    for (key, reason) in [
        (format!(r#"{{"kty":"RSA","n":"{n}==","e":"AQAB"}}"#), "not base64url"),
        (r#"{"kty":"RSA","x5c":["AA"]}"#.to_owned(), "modulus or exponent is missing"),
        (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","use":"enc"}}"#), "\"use\" is not \"sig\""),
    ] {
        assert_eq!(parse(&key).1, [reason], "{key}");
    }
}

#[test]
fn refuses_documents_that_are_no_key_set_j14() {
    for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#] {
        assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
    }
}
