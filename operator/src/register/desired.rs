//! From a ClientRegistration's spec to what is asked of the token service. Pure.

use portreeve_compiler::Options;
use portreeve_crds::v1alpha1::{ClientMetadataSpec, ClientMethod, ClientRegistration, GrantType, ResponseType};
use portreeve_registration::{ClientMetadata, Deletion, Desired, Endpoint, InsecureHttp};

/// The registration as it shall be, or what is wrong with the object.
pub(super) fn desired(
    registration: &ClientRegistration,
    endpoint: &str,
    options: Options,
    deletion: Deletion,
) -> Result<Desired, String> {
    let metadata = metadata(&registration.spec.metadata, registration.spec.authentication.method);
    let metadata = metadata.validate().map_err(|fault| format!("spec.metadata: {fault}"))?;
    let endpoint = parse_endpoint(endpoint, options)?;
    let uid = registration.metadata.uid.as_deref().unwrap_or_default();
    let generation = registration.metadata.generation.unwrap_or_default();
    Ok(Desired::new(&metadata, endpoint, uid, generation, deletion))
}

/// What is needed to delete a client whose object is gone: the place, and nothing that would be sent.
pub(super) fn deletion_of(endpoint: &str, uid: &str, options: Options) -> Result<Desired, String> {
    let metadata = ClientMetadata { grant_types: vec!["client_credentials".to_owned()], ..ClientMetadata::default() };
    let metadata = metadata.validate().map_err(|fault| fault.to_string())?;
    Ok(Desired::new(&metadata, parse_endpoint(endpoint, options)?, uid, 0, Deletion::Delete))
}

fn parse_endpoint(endpoint: &str, options: Options) -> Result<Endpoint, String> {
    let http = if options.allow_http { InsecureHttp::Allowed } else { InsecureHttp::Refused };
    Endpoint::parse(endpoint, http).map_err(|fault| fault.to_string())
}

fn metadata(spec: &ClientMetadataSpec, method: ClientMethod) -> ClientMetadata {
    let ClientMetadataSpec {
        client_name,
        grant_types,
        response_types,
        redirect_uris,
        scope,
        contacts,
        client_uri,
        software_id,
        software_version,
        additional,
    } = spec.clone();
    let method = match method {
        ClientMethod::ClientSecretBasic => "client_secret_basic",
        ClientMethod::ClientSecretPost => "client_secret_post",
        ClientMethod::None => "none",
    };
    ClientMetadata {
        client_name: Some(client_name),
        client_uri,
        contacts,
        grant_types: grant_types.into_iter().map(|grant| grant_type(grant).to_owned()).collect(),
        jwks: None,
        redirect_uris,
        response_types: response_types.into_iter().map(|ResponseType::Code| "code".to_owned()).collect(),
        scope: Some(scope).filter(|scope| !scope.is_empty()),
        software_id,
        software_version,
        token_endpoint_auth_method: Some(method.to_owned()),
        vendor: additional.into_iter().map(|(name, value)| (name, value.into())).collect(),
    }
}

fn grant_type(grant: GrantType) -> &'static str {
    match grant {
        GrantType::AuthorizationCode => "authorization_code",
        GrantType::ClientCredentials => "client_credentials",
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

    fn registration(metadata: &serde_json::Value) -> ClientRegistration {
        serde_json::from_value(json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "ClientRegistration",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "u-1", "generation": 4},
            "spec": {"tokenServiceRef": {"name": "login"}, "credentialsSecretName": "shop", "metadata": metadata},
        }))
        .unwrap()
    }

    #[test]
    fn asks_for_what_the_spec_says_and_marks_it_with_the_uid() {
        let object = registration(&json!({
            "clientName": "shop", "grantTypes": ["client_credentials"], "scope": "a b", "additional": {"org_unit": "x"},
        }));
        let desired = desired(&object, "https://login.test/reg", OPTIONS, Deletion::Keep).unwrap();
        assert_eq!(
            serde_json::Value::Object(desired.document().clone()),
            json!({
                "client_name": "shop", "grant_types": ["client_credentials"], "org_unit": "x", "redirect_uris": [],
                "response_types": [], "scope": "a b", "software_id": "u-1",
                "token_endpoint_auth_method": "client_secret_basic",
            })
        );
        assert_eq!(desired.generation(), 4);
    }

    #[test]
    fn names_the_field_that_no_server_would_take() {
        let object = registration(&json!({"clientName": "shop", "grantTypes": ["authorization_code"]}));
        let fault = desired(&object, "https://login.test/reg", OPTIONS, Deletion::Keep).unwrap_err();
        assert!(fault.starts_with("spec.metadata: redirect_uris"), "{fault}");
        let object = registration(&json!({"clientName": "shop", "grantTypes": ["client_credentials"]}));
        assert!(desired(&object, "http://login.test/reg", OPTIONS, Deletion::Keep).is_err());
    }
}
