//! References of `spec.authentication`: token services, Secrets, ConfigMaps, the namespace's signing key.

use portreeve_crds::{CaBundleRef, ConditionReason, LocalRef, SecretKeyRef, TokenServiceRef};
use portreeve_policy::{
    ApiKeyRule, ApiKeySource, Authentication, Authenticator, BasicRule, ClientCertificateRule, Credential, Dialect,
    DigestAlgorithm, DigestRule, ExchangeRule, ExchangeSubject, IntrospectionRule, JwtRule, KeySet, MintRule,
    NamespacedName, Secret, SecretName, UpstreamToken, parse_api_keys, parse_htdigest, parse_htpasswd,
};

use super::{Services, Unresolved, find_token_service, referenced_text};
use crate::{
    Inventory,
    gateway_client::check_may_ask,
    pem::PemKind,
    validate::{
        AuthenticationDraft, AuthenticatorDraft, CredentialDraft, CredentialKind, ExchangeDraft, KeySourceDraft,
        SubjectDraft, UpstreamDraft, ValidTokenService,
    },
};

/// Key of a Secret that holds digests of API keys.
const API_KEYS: &str = "keys";

/// Where the fault is, and what it is.
type Fault = (String, Unresolved);

/// What references are looked up in.
pub(crate) struct References<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) services: &'a Services,
    /// Of the policy.
    pub(crate) namespace: &'a str,
}

impl References<'_> {
    /// Turns a policy's authentication into its final form. Faults carry the field path.
    pub(crate) fn authentication(&self, draft: AuthenticationDraft) -> Result<Authentication, Fault> {
        let list = match draft {
            AuthenticationDraft::Anonymous => return Ok(Authentication::Anonymous),
            AuthenticationDraft::AnyOf(list) => list,
        };
        let resolve = |draft| match draft {
            AuthenticatorDraft::Anonymous => Ok(Authenticator::Anonymous),
            AuthenticatorDraft::AllOf(all) => {
                all.into_iter().map(|one| self.credential(one)).collect::<Result<_, _>>().map(Authenticator::AllOf)
            }
        };
        list.into_iter().map(resolve).collect::<Result<_, _>>().map(Authentication::AnyOf)
    }

    fn credential(&self, draft: CredentialDraft) -> Result<Credential, Fault> {
        let CredentialDraft { path, kind, upstream } = draft;
        let upstream_token = self.upstream(&path, upstream)?;
        Ok(match kind {
            CredentialKind::ApiKey { location, source } => {
                let source = self.key_source(&path, source)?;
                Credential::ApiKey(ApiKeyRule { source, location, upstream_token })
            }
            CredentialKind::Basic { realm, users } => {
                let users = self.users(&path, &users, |text| parse_htpasswd(text).map(drop))?;
                Credential::Basic(BasicRule { realm, users, upstream_token })
            }
            CredentialKind::ClientCertificate { ca, crl, names, forward } => {
                let ca_certificates = self.pem(&format!("{path}.caRef"), &ca, PemKind::Certificate)?;
                let crl =
                    crl.map(|crl| self.pem(&format!("{path}.crlRef"), &crl, PemKind::RevocationList)).transpose()?;
                let revocation_lists = crl.unwrap_or_default();
                Credential::ClientCertificate(ClientCertificateRule {
                    ca_certificates,
                    authorities: self.place(&ca),
                    revocation_lists,
                    names,
                    forward,
                    upstream_token,
                })
            }
            CredentialKind::Digest { realm, users, algorithms } => {
                let users = self.users(&path, &users, |text| {
                    let users = parse_htdigest(text, &realm)?;
                    let weak = algorithms.contains(&DigestAlgorithm::Md5);
                    let usable =
                        |(_, algorithm): &(String, DigestAlgorithm)| weak || *algorithm != DigestAlgorithm::Md5;
                    let reason = "no user of this realm has a SHA-256 hash";
                    users.keys().any(usable).then_some(()).ok_or(portreeve_policy::InvalidUsers { line: 0, reason })
                })?;
                Credential::Digest(DigestRule { realm, users, algorithms, upstream_token })
            }
            CredentialKind::Exchange(draft) => Credential::Exchange(self.exchange(&path, draft, upstream_token)?),
            CredentialKind::Introspection { token } => {
                let field = format!("{path}.tokenServiceRef");
                let (token_service, service) = self.service(&field, &token.token_service)?;
                self.may_ask(&field, &token_service)?;
                check_dialect(&path, &token_service, service, &upstream_token)?;
                Credential::Introspection(IntrospectionRule {
                    token_service,
                    audiences: token.audiences,
                    max_token_age: token.max_age,
                    proof: token.proof,
                    upstream_token,
                })
            }
            CredentialKind::Jwt { token, token_type } => {
                let field = format!("{path}.tokenServiceRef");
                let (token_service, _) = self.service(&field, &token.token_service)?;
                let (audiences, max_token_age, proof) = (token.audiences, token.max_age, token.proof);
                Credential::Jwt(JwtRule { token_service, audiences, token_type, max_token_age, proof, upstream_token })
            }
        })
    }

    /// A TokenService that the policy's own namespace may use.
    fn service(&self, field: &str, reference: &TokenServiceRef) -> Result<(NamespacedName, &ValidTokenService), Fault> {
        let at = |unresolved| (field.to_owned(), unresolved);
        let (name, _) = find_token_service(self.inventory, self.namespace, reference).map_err(at)?;
        let Some(Some(service)) = self.services.get(&name) else {
            let message = format!("TokenService {name} is broken; see its status");
            return Err(at((ConditionReason::UnresolvedReference, message)));
        };
        Ok((name, service))
    }

    /// Whether the gateway may have a client of this namespace there.
    fn may_ask(&self, field: &str, name: &NamespacedName) -> Result<(), Fault> {
        let Some(service) = self.inventory.token_services.get(name) else { return Ok(()) };
        check_may_ask(name, service, self.namespace).map_err(|unresolved| (field.to_owned(), unresolved))
    }

    fn exchange(&self, path: &str, draft: ExchangeDraft, upstream_token: UpstreamToken) -> Result<ExchangeRule, Fault> {
        let ExchangeDraft { subject, audiences, token_service, audience, scope } = draft;
        let subject = match subject {
            SubjectDraft::Jwt { partner, token_type, grant } => {
                let (partner, _) = self.service(&format!("{path}.partnerRef"), &partner)?;
                ExchangeSubject::Jwt { partner, audiences, token_type, grant }
            }
            SubjectDraft::Saml { issuer } => ExchangeSubject::Saml { issuer, audiences },
        };
        let field = format!("{path}.tokenServiceRef");
        let (token_service, _) = self.service(&field, &token_service)?;
        let has_client =
            self.inventory.token_services.get(&token_service).is_some_and(|object| object.spec.client.is_some());
        if subject.partner() == Some(&token_service) || !has_client {
            let message = if has_client {
                format!("TokenService {token_service} is partnerRef too; a token service's own tokens need no exchange")
            } else {
                format!("TokenService {token_service} has no spec.client; the gateway needs one to exchange tokens")
            };
            return Err((field, (ConditionReason::Invalid, message)));
        }
        self.may_ask(&field, &token_service)?;
        Ok(ExchangeRule { subject, token_service, audience, scope, upstream_token })
    }

    fn upstream(&self, path: &str, draft: UpstreamDraft) -> Result<UpstreamToken, Fault> {
        let (only_without_jwt, mint) = match draft {
            UpstreamDraft::Given(token) => return Ok(token),
            UpstreamDraft::Minted { only_without_jwt, mint } => (only_without_jwt, mint),
        };
        let Some(key) = self.inventory.signing_keys.get(self.namespace) else {
            let message = format!("the gateway's signing key of namespace {} is not made yet", self.namespace);
            return Err((format!("{path}.mint"), (ConditionReason::AwaitingKeys, message)));
        };
        let rule = MintRule {
            signing_key: key.name.clone(),
            key_id: key.key_id.clone(),
            published: key.published.clone(),
            issuer: key.issuer.clone(),
            audience: mint.audience,
            lifetime: mint.lifetime,
            claims: mint.claims,
        };
        Ok(if only_without_jwt { UpstreamToken::JwtOrMinted(rule) } else { UpstreamToken::Minted(rule) })
    }

    fn key_source(&self, path: &str, draft: KeySourceDraft) -> Result<ApiKeySource, Fault> {
        match draft {
            KeySourceDraft::Digests(list) => {
                let read = |(i, LocalRef { name }): (usize, &LocalRef)| {
                    let field = format!("{path}.secretRefs[{i}]");
                    let reference = SecretKeyRef { name: name.clone(), key: API_KEYS.to_owned() };
                    self.checked_secret(&field, &reference, |text| parse_api_keys(text).map(drop))
                };
                list.iter().enumerate().map(read).collect::<Result<_, _>>().map(ApiKeySource::Digests)
            }
            KeySourceDraft::Signed { key_set, audience } => {
                let field = format!("{path}.signed.keySetRef");
                let text = self.text(&field, &key_set)?;
                let parsed = KeySet::parse(text.as_bytes());
                let fault = |message: String| (field.clone(), (ConditionReason::UnresolvedReference, message));
                let (keys, faults) = parsed.map_err(|error| fault(format!("{}: {error}", key_set.name)))?;
                if keys.keys().is_empty() {
                    let first = faults.first().map_or_else(|| "it is empty".to_owned(), ToString::to_string);
                    return Err(fault(format!("{} holds no key that can be used: {first}", key_set.name)));
                }
                Ok(ApiKeySource::Signed { keys, audience, signers: self.place(&key_set) })
            }
        }
    }

    fn users<E: std::fmt::Display>(
        &self,
        path: &str,
        reference: &SecretKeyRef,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<SecretName, Fault> {
        self.checked_secret(&format!("{path}.usersRef"), reference, check)
    }

    /// A secret that is there and can be read as what it is for (C5). The fault never holds what stands in it.
    fn checked_secret<E: std::fmt::Display>(
        &self,
        field: &str,
        reference: &SecretKeyRef,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<SecretName, Fault> {
        let fault = |message: String| (field.to_owned(), (ConditionReason::UnresolvedReference, message));
        let object = NamespacedName::new(self.namespace, &reference.name).map_err(|error| fault(error.to_string()))?;
        let held = self.inventory.secrets.get(&object).and_then(|secret| secret.get(&reference.key));
        let text = held.and_then(Secret::expose_str);
        let text =
            text.ok_or_else(|| fault(format!("Secret {object} has no text under {:?}; create it", reference.key)))?;
        check(text).map_err(|error| fault(format!("Secret {object} key {:?}: {error}", reference.key)))?;
        SecretName::new(object, &reference.key).map_err(|error| fault(error.to_string()))
    }

    /// The blocks of this kind of a bundle. A broken one is a fault, never an empty one (M3).
    fn pem(&self, field: &str, reference: &CaBundleRef, kind: PemKind) -> Result<String, Fault> {
        let text = self.text(field, reference)?;
        kind.only(&text).map_err(|fault| {
            let message = format!("{} key {:?} {fault}", reference.name, reference.key);
            (field.to_owned(), (ConditionReason::UnresolvedReference, message))
        })
    }

    /// Names what a reference of this namespace points to.
    fn place(&self, CaBundleRef { kind, name, key }: &CaBundleRef) -> String {
        format!("{kind:?}/{}/{name}/{key}", self.namespace)
    }

    fn text(&self, field: &str, reference: &CaBundleRef) -> Result<String, Fault> {
        let fault = |message: String| (field.to_owned(), (ConditionReason::UnresolvedReference, message));
        let found = referenced_text(self.inventory, self.namespace, reference);
        let (object, text) = found.map_err(|error| fault(error.to_string()))?;
        text.ok_or_else(|| fault(format!("{object} has no text under {:?}; create it", reference.key)))
    }
}

/// A phantom token needs an answer that carries one, or a rule for minting.
fn check_dialect(
    path: &str,
    name: &NamespacedName,
    service: &ValidTokenService,
    upstream_token: &UpstreamToken,
) -> Result<(), Fault> {
    let Some(settings) = &service.introspection else {
        let message = format!("TokenService {name} has no spec.introspection; add it there, or use jwt here");
        return Err((format!("{path}.tokenServiceRef"), (ConditionReason::UnresolvedReference, message)));
    };
    let said = match settings.dialect {
        Dialect::Json => "Json",
        Dialect::SignedEnvelope => "SignedEnvelope",
        Dialect::JwtBody | Dialect::JwtMember { .. } => return Ok(()),
    };
    if *upstream_token == UpstreamToken::Jwt {
        let message = format!(
            "upstreamToken Jwt needs an introspection answer that carries one; TokenService {name} says answer: \
             {said}; add mint, and the gateway makes one"
        );
        return Err((format!("{path}.upstreamToken"), (ConditionReason::Invalid, message)));
    }
    Ok(())
}
