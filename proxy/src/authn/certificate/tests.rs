use portreeve_policy::UpstreamToken;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_392_000_000);

struct Authority(Issuer<'static, KeyPair>, String);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority(Issuer::new(params, key), pem)
}

fn client(edit: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
    params.distinguished_name.push(DnType::CommonName, "shop");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![
        SanType::URI("spiffe://example.org/shop".try_into().unwrap()),
        SanType::DnsName("Shop.example.com".try_into().unwrap()),
    ];
    params.serial_number = Some(SerialNumber::from(7));
    edit(&mut params);
    params
}

fn show(params: &CertificateParams, authority: &Authority) -> PeerCertificates {
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority.0).unwrap();
    PeerCertificates::new(vec![certificate.der().clone()]).unwrap()
}

fn rule(authority: &Authority, names: Vec<CertificateName>) -> ClientCertificateRule {
    ClientCertificateRule {
        authorities: String::new(),
        ca_certificates: authority.1.clone(),
        revocation_lists: String::new(),
        names,
        forward: false,
        upstream_token: UpstreamToken::None,
    }
}

fn verdict(rule: &ClientCertificateRule, shown: &PeerCertificates) -> Result<Option<String>, AuthenticationError> {
    let Ok(verifier) = CertificateVerifier::new(rule, &[]) else { return Ok(Some("no verifier".to_owned())) };
    let digester = TokenDigester::new(&[1; 64]);
    let accepted = verifier.verify(shown, &digester, NOW)?;
    let again = verifier.verify(shown, &digester, NOW)?;
    assert_eq!(again.credential.claims(), accepted.credential.claims());
    Ok(accepted.credential.claims().subject().map(str::to_owned))
}

fn number(shown: &PeerCertificates, at: usize) -> u128 {
    u128::from_be_bytes(shown.thumbprint()[at..at + 16].try_into().unwrap())
}

const CHAIN: AuthenticationError = AuthenticationError::Refused(CredentialRefusal::CertificateChain);
const NAME: AuthenticationError = AuthenticationError::Refused(CredentialRefusal::CertificateName);

#[test]
fn chains_dates_and_purposes_are_checked_m4() {
    let (ours, other) = (authority("ours"), authority("other"));
    let any = rule(&ours, Vec::new());
    assert_eq!(verdict(&any, &show(&client(|_| {}), &ours)), Ok(Some("spiffe://example.org/shop".to_owned())));
    assert_eq!(verdict(&any, &show(&client(|_| {}), &other)), Err(CHAIN));
    for (case, edit) in [
        ("expired", (|p| p.not_after = date_time_ymd(2026, 1, 1)) as fn(&mut CertificateParams)),
        ("not yet valid", |p| p.not_before = date_time_ymd(2027, 1, 1)),
        ("for servers", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ] {
        assert_eq!(verdict(&any, &show(&client(edit), &ours)), Err(CHAIN), "{case}");
    }
}

#[test]
fn kinds_of_names_are_not_mixed_m4() {
    let ours = authority("ours");
    let shown = show(&client(|_| {}), &ours);
    let hex = format!("{:032x}{:032x}", number(&shown, 0), number(&shown, 16));
    for (name, good) in [
        (CertificateName::Dns("shop.example.com".to_owned()), true),
        (CertificateName::Dns("shop".to_owned()), false),
        (CertificateName::Dns("example.com".to_owned()), false),
        (CertificateName::Uri("spiffe://example.org/shop".to_owned()), true),
        (CertificateName::Uri("spiffe://example.org/shop/".to_owned()), false),
        (CertificateName::Dns("spiffe://example.org/shop".to_owned()), false),
        (CertificateName::SpiffeTrustDomain("example.org".to_owned()), true),
        (CertificateName::SpiffeTrustDomain("example".to_owned()), false),
        (CertificateName::Subject("CN=shop,O=Acme\\, Inc.".to_owned()), true),
        (CertificateName::Subject("CN=shop".to_owned()), false),
        (CertificateName::Email("shop".to_owned()), false),
        (CertificateName::Thumbprint(hex), true),
        (CertificateName::Thumbprint("0".repeat(64)), false),
    ] {
        let expected = if good { Ok(Some("spiffe://example.org/shop".to_owned())) } else { Err(NAME) };
        assert_eq!(verdict(&rule(&ours, vec![name.clone()]), &shown), expected, "{name:?}");
    }
}

#[test]
fn revoked_certificates_do_not_count_and_broken_files_close_m3() {
    let ours = authority("ours");
    let list = |serial: u64| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, 1),
            next_update: date_time_ymd(2027, 11, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2026, 11, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&ours.0).unwrap().pem().unwrap()
    };
    let shown = show(&client(|_| {}), &ours);
    let with = |lists: String| ClientCertificateRule { revocation_lists: lists, ..rule(&ours, Vec::new()) };
    assert_eq!(verdict(&with(list(7)), &shown), Err(CHAIN));
    assert!(verdict(&with(list(8)), &shown).is_ok());
    let broken = CertificateVerifier::new(&with("rubbish".to_owned()), &[]).err();
    assert_eq!(broken, Some(InvalidTrust::RevocationLists));
    let broken = ClientCertificateRule { ca_certificates: "rubbish".to_owned(), ..rule(&ours, Vec::new()) };
    assert_eq!(CertificateVerifier::new(&broken, &[]).err(), Some(InvalidTrust::Authorities));
}
