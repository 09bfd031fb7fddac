//! Proof of possession: DPoP for each request, client certificates for each connection.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::{
    fixture::{Fixture, Reply, Signer, jwt_rule},
    setup::{Setup, now},
};

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes).as_ref())
}

/// RFC 7638.
fn thumbprint(jwk: &Value) -> String {
    sha256(json!({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"]}).to_string().as_bytes())
}

struct Prover {
    key: Signer,
    token: String,
}

impl Prover {
    fn claims(&self, jti: &str) -> Value {
        json!({
            "jti": jti, "htm": "GET", "htu": "http://a/p", "iat": now(), "ath": sha256(self.token.as_bytes()),
        })
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "dpop+jwt", "jwk": self.key.jwk()})
    }
}

fn dpop_bed(nonce: bool) -> (Fixture, Signer) {
    let signer = Signer::new();
    let mut rule = jwt_rule();
    rule["proof"] = json!({"required": [], "dpopNonce": nonce});
    rule["upstreamToken"] = json!("none");
    let fixture = Setup::default()
        .signer("default/login", "https://login.example.com", &signer)
        .rule("p", &json!([{"allOf": [{"jwt": rule}]}]))
        .start();
    (fixture, signer)
}

fn ask(fixture: &Fixture, scheme: &str, token: &str, proofs: &[String]) -> Reply {
    let proofs = proofs.iter().fold(String::new(), |all, proof| format!("{all}DPoP: {proof}\r\n"));
    fixture.send(&format!("GET /p?q=1 HTTP/1.1\r\nHost: a\r\nAuthorization: {scheme} {token}\r\n{proofs}\r\n"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn dpop_proofs_count_once_for_one_request_and_one_token_j16() {
    let (fixture, signer) = dpop_bed(false);
    let key = Signer::new_other();
    let token = signer.token_with(&json!({"cnf": {"jkt": thumbprint(&key.jwk())}}));
    let prover = Prover { key, token: token.clone() };
    let with = |jti: &str, name: &str, value: Value| {
        let mut claims = prover.claims(jti);
        claims[name] = value;
        claims
    };
    let without = |jti: &str, name: &str| {
        let mut claims = prover.claims(jti);
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let good = prover.key.sign_as(&prover.header(), &prover.claims("1"));
    assert_eq!(ask(&fixture, "DPoP", &token, std::slice::from_ref(&good)).status, 200);
    let again = ask(&fixture, "DPoP", &token, std::slice::from_ref(&good));
    assert_eq!((again.status, again.json()["reason"].as_str()), (401, Some("invalid_proof")));
    for (case, claims) in [
        ("method", with("2", "htm", json!("POST"))),
        ("address", with("3", "htu", json!("http://a/other"))),
        ("host", with("4", "htu", json!("http://b/p"))),
        ("scheme", with("5", "htu", json!("https://a/p"))),
        ("query", with("6", "htu", json!("http://a/p?q=1"))),
        ("another token", with("7", "ath", json!(sha256(b"other")))),
        ("no token", without("8", "ath")),
        ("old", with("9", "iat", json!(now() - 120))),
        ("future", with("10", "iat", json!(now() + 60))),
        ("no jti", without("11", "jti")),
        ("huge jti", with("12", "jti", json!("x".repeat(300)))),
        ("wrong type", with("13", "iat", json!("now"))),
        ("somebody's nonce", with("14", "nonce", json!("abc"))),
    ] {
        let proof = prover.key.sign_as(&prover.header(), &claims);
        let reply = ask(&fixture, "DPoP", &token, &[proof]);
        assert_eq!(reply.status, 401, "{case}");
    }
    let edit = |name: &str, value: Value| {
        let mut header = prover.header();
        header[name] = value;
        header
    };
    let mut private = prover.key.jwk();
    private["d"] = json!("AA");
    for (case, header) in [
        ("typ", edit("typ", json!("at+jwt"))),
        ("alg none", edit("alg", json!("none"))),
        ("private key", edit("jwk", private)),
        ("other key", edit("jwk", Signer::new().jwk())),
        ("crit", edit("crit", json!(["x"]))),
    ] {
        let proof = prover.key.sign_as(&header, &prover.claims(case));
        assert_eq!(ask(&fixture, "DPoP", &token, &[proof]).status, 401, "{case}");
    }
    let stranger = Signer::new();
    let header = json!({"alg": "EdDSA", "typ": "dpop+jwt", "jwk": stranger.jwk()});
    let proof = stranger.sign_as(&header, &prover.claims("20"));
    assert_eq!(ask(&fixture, "DPoP", &token, &[proof]).status, 401, "a proof of another key");
    let fresh = |jti: &str| prover.key.sign_as(&prover.header(), &prover.claims(jti));
    assert_eq!(ask(&fixture, "DPoP", &token, &[fresh("21"), fresh("22")]).status, 401, "two proofs");
    assert_eq!(ask(&fixture, "DPoP", &token, &[]).status, 401, "no proof");
    assert_eq!(ask(&fixture, "Bearer", &token, &[fresh("23")]).status, 401, "a bound token as a bearer token");
    let plain = signer.token("x", "orders");
    assert_eq!(ask(&fixture, "DPoP", &plain, &[fresh("24")]).status, 401, "an unbound token as bound");
    assert_eq!(ask(&fixture, "Bearer", &plain, &[]).status, 200);
    assert_eq!(ask(&fixture, "DPoP", &token, &[fresh("25")]).status, 200);
    assert!(!fixture.app_log().join("").to_ascii_lowercase().contains("dpop:"), "the binding ends here");
}

#[test]
fn nonces_are_asked_for_where_the_rule_says_so() {
    let (fixture, signer) = dpop_bed(true);
    let key = Signer::new_other();
    let token = signer.token_with(&json!({"cnf": {"jkt": thumbprint(&key.jwk())}}));
    let prover = Prover { key, token: token.clone() };
    let without = prover.key.sign_as(&prover.header(), &prover.claims("1"));
    let reply = ask(&fixture, "DPoP", &token, &[without]);
    let nonce = reply.header("dpop-nonce").to_owned();
    let lines = reply.headers("www-authenticate");
    assert!(reply.status == 401 && lines.iter().any(|line| line.contains("error=\"use_dpop_nonce\"")), "{lines:?}");
    let mut claims = prover.claims("2");
    claims["nonce"] = json!(nonce);
    assert_eq!(ask(&fixture, "DPoP", &token, &[prover.key.sign_as(&prover.header(), &claims)]).status, 200);
}

pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

struct Identity(CertificateDer<'static>, Vec<u8>);

fn identity(authority: &Authority, spiffe: &str) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "shop");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(spiffe.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    Identity(params.signed_by(&key, &authority.issuer).unwrap().der().clone(), key.serialize_der())
}

/// One request over TLS, with or without a certificate.
fn over_tls(
    fixture: &Fixture,
    server: &CertificateDer<'static>,
    identity: Option<&Identity>,
    path: &str,
    headers: &str,
) -> Reply {
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity(certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.clone()).unwrap();
            config.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
        }
    };
    let session = ClientConnection::new(Arc::new(config), "a.example.com".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(fixture.listen()).unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    // The end may come without a closing alert.
    drop(stream.read_to_end(&mut text));
    Reply::parse(&String::from_utf8_lossy(&text))
}

#[test]
fn certificates_are_judged_at_the_request_m1_m2() {
    let server = rcgen::generate_simple_self_signed(vec!["a.example.com".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("portreeve-possession-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    fs::write(&certificate, server.cert.pem()).unwrap();
    fs::write(&key, server.signing_key.serialize_pem()).unwrap();
    let (ours, other) = (authority(), authority());
    let signer = Signer::new();
    let mut bound = jwt_rule();
    bound["proof"] = json!({"required": ["certificate"], "dpopNonce": false});
    let certificate_rule = json!({"clientCertificate": {
        "caCertificates": ours.pem, "revocationLists": "", "names": [{"uri": "spiffe://example.org/shop"}],
        "forward": true, "upstreamToken": "none",
    }});
    let fixture = Setup::default()
        .signer("default/login", "https://login.example.com", &signer)
        .rule("cert", &json!([{"allOf": [certificate_rule]}]))
        .rule("both", &json!([{"allOf": [{"jwt": jwt_rule()}, certificate_rule]}]))
        .rule("bound", &json!([{"allOf": [{"jwt": bound}]}]))
        .rule("plain", &json!([{"allOf": [{"jwt": jwt_rule()}]}]))
        .start_with(&[
            ("PORTREEVE_TLS_CERT", certificate.to_str().unwrap()),
            ("PORTREEVE_TLS_KEY", key.to_str().unwrap()),
        ]);
    let shop = identity(&ours, "spiffe://example.org/shop");
    let elsewhere = identity(&ours, "spiffe://example.org/other");
    let stranger = identity(&other, "spiffe://example.org/shop");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let plain = bearer(&signer.token("x", "orders"));
    let to_shop = bearer(&signer.token_with(&json!({"cnf": {"x5t#S256": sha256(&shop.0)}})));
    for (case, shown, path, headers, status) in [
        ("none shown", None, "/cert", "", 401),
        ("ours", Some(&shop), "/cert", "Client-Cert: :AAAA:\r\nX-Client-Cert: x\r\n", 200),
        ("another name", Some(&elsewhere), "/cert", "", 401),
        ("another authority", Some(&stranger), "/cert", "", 401),
        ("both", Some(&shop), "/both", plain.as_str(), 200),
        ("certificate alone", Some(&shop), "/both", "", 401),
        ("token alone", None, "/both", plain.as_str(), 401),
        ("bound to it", Some(&shop), "/bound", to_shop.as_str(), 200),
        ("bound to another", Some(&elsewhere), "/bound", to_shop.as_str(), 401),
        ("bound, none shown", None, "/bound", to_shop.as_str(), 401),
        ("unbound", Some(&shop), "/bound", plain.as_str(), 401),
        ("bound where no rule asks", Some(&shop), "/plain", to_shop.as_str(), 200),
        ("bound token stolen", None, "/plain", to_shop.as_str(), 401),
        ("stranger's certificate beside a token", Some(&stranger), "/plain", plain.as_str(), 200),
    ] {
        let reply = over_tls(&fixture, server.cert.der(), shown, path, headers);
        assert_eq!(reply.status, status, "{case}: {}", reply.body);
    }
    let heads = fixture.app_log();
    let forwarded = format!("client-cert: :{}:\r\n", STANDARD.encode(&shop.0));
    let first = heads.first().unwrap();
    assert!(first.contains(&forwarded) && !first.contains(":AAAA:"), "{first}");
    assert_eq!(heads.iter().filter(|head| head.contains("client-cert:")).count(), 2, "only where the rule forwards it");
    drop(fs::remove_dir_all(folder));
}
