//! Tokens of partners' domains.

use portreeve_crds::{
    TokenServiceRef,
    v1alpha1::{ExchangeGrantSpec, ExchangeSpec},
};
use portreeve_policy::{Audiences, ExchangeGrant, JwtType, Scope};

use super::{
    Faults,
    authentication::{CredentialDraft, CredentialKind, audiences, token_type, upstream},
};

/// A token of a partner's domain.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeDraft {
    pub(crate) subject: SubjectDraft,
    pub(crate) audiences: Audiences,
    pub(crate) token_service: TokenServiceRef,
    pub(crate) audience: String,
    pub(crate) scope: String,
}

/// What a partner's users bring.
#[derive(Debug, Clone)]
pub(crate) enum SubjectDraft {
    Jwt { partner: TokenServiceRef, token_type: JwtType, grant: ExchangeGrant },
    Saml { issuer: String },
}

pub(super) fn exchange_draft(faults: &mut Faults<'_>, path: String, spec: &ExchangeSpec) -> Option<CredentialDraft> {
    let audiences = audiences(faults, &format!("{path}.partnerAudiences"), &spec.partner_audiences);
    if spec.audience.is_empty() {
        faults.add(format!("{path}.audience"), "name the audience of the token that is asked for");
    }
    for (i, scope) in spec.scopes.iter().enumerate() {
        faults.take(&format!("{path}.scopes[{i}]"), Scope::try_from(scope.clone()));
    }
    let subject = exchange_subject(faults, &path, spec);
    let upstream = upstream(faults, &path, spec.upstream_token, spec.mint.as_ref(), false);
    let draft = ExchangeDraft {
        subject: subject?,
        audiences: audiences?,
        token_service: spec.token_service_ref.clone(),
        audience: spec.audience.clone(),
        scope: spec.scopes.join(" "),
    };
    Some(CredentialDraft { kind: CredentialKind::Exchange(draft), upstream: upstream?, path })
}

fn exchange_subject(faults: &mut Faults<'_>, path: &str, spec: &ExchangeSpec) -> Option<SubjectDraft> {
    let jwt = |partner: &TokenServiceRef, grant| {
        Some(SubjectDraft::Jwt { partner: partner.clone(), token_type: token_type(spec.token_type), grant })
    };
    match (spec.grant, &spec.partner_ref, &spec.saml_issuer) {
        (ExchangeGrantSpec::JwtBearer, Some(partner), None) => jwt(partner, ExchangeGrant::JwtBearer),
        (ExchangeGrantSpec::TokenExchange, Some(partner), None) => jwt(partner, ExchangeGrant::TokenExchange),
        (ExchangeGrantSpec::SamlBearer, None, Some(issuer)) if !issuer.is_empty() => {
            Some(SubjectDraft::Saml { issuer: issuer.clone() })
        }
        (ExchangeGrantSpec::SamlBearer, _, _) => {
            faults.add(format!("{path}.samlIssuer"), "grant SamlBearer needs samlIssuer, and no partnerRef");
            None
        }
        (ExchangeGrantSpec::JwtBearer | ExchangeGrantSpec::TokenExchange, _, _) => {
            faults.add(format!("{path}.partnerRef"), "a signed token needs partnerRef, and no samlIssuer");
            None
        }
    }
}
