//! From a ClientRegistration's spec to what is asked of the token service. Pure.

use portreeve_compiler::{Options, ResolvedRegistration, ResolvedRotation};
use portreeve_crds::v1alpha1::{
    ClientMethod, ClientRegistration, DriftPolicy as SpecDriftPolicy, GrantType, ResponseType, TlsSubjectType,
};
use portreeve_registration::{
    ClientMetadata, Deletion, Desired, DriftPolicy, Endpoint, InsecureHttp, RegistrationOrigin, Rotation, Secret,
};
use serde_json::Value;

use super::grant::Grant;

/// The registration as it shall be, or what is wrong with the object.
pub(super) fn desired(
    registration: &ClientRegistration,
    target: &ResolvedRegistration,
    options: Options,
    grant: &Grant,
) -> Result<Desired, String> {
    let metadata = metadata(registration, &grant.scope);
    let metadata = metadata.validate().map_err(|fault| format!("spec.metadata: {fault}"))?;
    let endpoint = parse_endpoint(&target.registration_endpoint, options)?;
    let uid = registration.metadata.uid.as_deref().unwrap_or_default();
    let generation = registration.metadata.generation.unwrap_or_default();
    let drift_policy = match registration.spec.drift_policy {
        SpecDriftPolicy::Correct => DriftPolicy::Correct,
        SpecDriftPolicy::Report => DriftPolicy::Report,
    };
    let ResolvedRotation { interval, overlap } = target.rotation;
    let desired = Desired::new(&metadata, endpoint, uid, generation, grant.deletion)
        .at_issuer(&target.issuer, target.token_endpoint.as_deref(), &target.ca_certificates)
        .with_rotation(Rotation { interval, overlap })
        .with_drift_policy(drift_policy);
    let statement = target.software_statement.as_ref().and_then(|statement| statement.expose_str());
    Ok(match statement {
        Some(statement) => desired.with_software_statement(Secret::new(statement.trim().to_owned())),
        None => desired,
    })
}

/// What is needed to delete a client: where it is, and nothing that would be sent.
pub(super) fn deletion_of(home: &RegistrationOrigin, uid: &str, options: Options) -> Result<Desired, String> {
    let metadata = ClientMetadata { grant_types: vec!["client_credentials".to_owned()], ..ClientMetadata::default() };
    let metadata = metadata.validate().map_err(|fault| fault.to_string())?;
    let RegistrationOrigin { issuer, endpoint, token_endpoint, trust } = home;
    let desired = Desired::new(&metadata, parse_endpoint(endpoint, options)?, uid, 0, Deletion::Delete);
    Ok(desired.at_issuer(issuer, token_endpoint.as_deref(), trust))
}

fn parse_endpoint(endpoint: &str, options: Options) -> Result<Endpoint, String> {
    let http = if options.allow_http { InsecureHttp::Allowed } else { InsecureHttp::Refused };
    Endpoint::parse(endpoint, http).map_err(|fault| fault.to_string())
}

fn metadata(registration: &ClientRegistration, scope: &str) -> ClientMetadata {
    let spec = registration.spec.metadata.clone();
    let authentication = &registration.spec.authentication;
    let mut vendor: std::collections::BTreeMap<String, Value> =
        spec.additional.into_iter().map(|(name, value)| (name, value.into())).collect();
    if let Some(subject) = &authentication.tls_subject {
        let member = match subject.kind {
            TlsSubjectType::SubjectDn => "tls_client_auth_subject_dn",
            TlsSubjectType::SanDns => "tls_client_auth_san_dns",
            TlsSubjectType::SanUri => "tls_client_auth_san_uri",
            TlsSubjectType::SanIp => "tls_client_auth_san_ip",
            TlsSubjectType::SanEmail => "tls_client_auth_san_email",
        };
        vendor.insert(member.to_owned(), subject.value.clone().into());
    }
    let (method, own_keys) = match authentication.method {
        ClientMethod::PrivateKeyJwt => ("private_key_jwt", true),
        ClientMethod::ClientSecretBasic => ("client_secret_basic", false),
        ClientMethod::ClientSecretPost => ("client_secret_post", false),
        ClientMethod::ClientSecretJwt => ("client_secret_jwt", false),
        ClientMethod::TlsClientAuth => ("tls_client_auth", false),
        ClientMethod::SelfSignedTlsClientAuth => ("self_signed_tls_client_auth", true),
        ClientMethod::None => ("none", false),
    };
    if authentication.method == ClientMethod::PrivateKeyJwt {
        // Some servers take RS256 unless they are told; our keys sign with ES256.
        vendor.entry("token_endpoint_auth_signing_alg".to_owned()).or_insert_with(|| "ES256".into());
    }
    ClientMetadata {
        client_name: Some(spec.client_name),
        client_uri: spec.client_uri,
        contacts: spec.contacts,
        grant_types: spec.grant_types.into_iter().map(|grant| grant_type(grant).to_owned()).collect(),
        jwks: None,
        own_keys,
        redirect_uris: spec.redirect_uris,
        response_types: spec.response_types.into_iter().map(|ResponseType::Code| "code".to_owned()).collect(),
        scope: Some(scope.to_owned()).filter(|scope| !scope.is_empty()),
        software_id: spec.software_id,
        software_version: spec.software_version,
        token_endpoint_auth_method: Some(method.to_owned()),
        vendor,
    }
}

fn grant_type(grant: GrantType) -> &'static str {
    match grant {
        GrantType::AuthorizationCode => "authorization_code",
        GrantType::ClientCredentials => "client_credentials",
        GrantType::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        GrantType::SamlBearer => "urn:ietf:params:oauth:grant-type:saml2-bearer",
        GrantType::RefreshToken => "refresh_token",
        GrantType::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
    }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::AddressRange;
    use serde_json::json;

    use super::*;

    const OPTIONS: Options = Options { allow_http: false, addresses: AddressRange::Public };

    fn registration(method: &str, metadata: &Value) -> ClientRegistration {
        serde_json::from_value(json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "ClientRegistration",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "u-1", "generation": 4},
            "spec": {
                "tokenServiceRef": {"name": "login"}, "credentialsSecretName": "shop", "metadata": metadata,
                "authentication": {"method": method},
            },
        }))
        .unwrap()
    }

    fn keep(scope: &str) -> Grant {
        Grant { scope: scope.to_owned(), deletion: Deletion::Keep, kept: Vec::new() }
    }

    fn target(endpoint: &str) -> ResolvedRegistration {
        ResolvedRegistration {
            token_service: "shop/login".parse().unwrap(),
            issuer: "https://login.test".to_owned(),
            registration_endpoint: endpoint.to_owned(),
            token_endpoint: None,
            initial_access_token: None,
            initial_access_token_place: String::new(),
            ca_certificates: String::new(),
            software_statement: None,
            rotation: ResolvedRotation { interval: None, overlap: 60 },
            access: portreeve_compiler::Access::default(),
        }
    }

    #[test]
    fn asks_for_what_the_spec_says_and_marks_it_with_the_uid() {
        let object = registration(
            "ClientSecretBasic",
            &json!({
                "clientName": "shop", "grantTypes": ["client_credentials"], "scope": "a b c",
                "additional": {"org_unit": "x"},
            }),
        );
        let desired = desired(&object, &target("https://login.test/reg"), OPTIONS, &keep("a b")).unwrap();
        assert_eq!(
            Value::Object(desired.document().clone()),
            json!({
                "client_name": "shop", "grant_types": ["client_credentials"], "org_unit": "x", "redirect_uris": [],
                "response_types": [], "scope": "a b", "software_id": "u-1",
                "token_endpoint_auth_method": "client_secret_basic",
            }),
            "and only for the scopes that may be had"
        );
        assert_eq!(desired.generation(), 4);
    }

    #[test]
    fn names_the_field_that_no_server_would_take() {
        let object = registration("None", &json!({"clientName": "shop", "grantTypes": ["authorization_code"]}));
        let fault = desired(&object, &target("https://login.test/reg"), OPTIONS, &keep("")).err().unwrap();
        assert!(fault.starts_with("spec.metadata: redirect_uris"), "{fault}");
        let machine = json!({"clientName": "shop", "grantTypes": ["client_credentials"]});
        let object = registration("PrivateKeyJwt", &machine);
        assert!(desired(&object, &target("https://login.test/reg"), OPTIONS, &keep("")).is_ok());
        assert!(desired(&object, &target("http://login.test/reg"), OPTIONS, &keep("")).is_err());
        let object = registration("TlsClientAuth", &machine);
        let fault = desired(&object, &target("https://login.test/reg"), OPTIONS, &keep("")).err().unwrap();
        assert!(fault.contains("tls_client_auth"), "{fault}");
    }
}
