//! Tokens of partners' domains.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JwtTypeSpec, MintSpec, UpstreamTokenSpec};
use crate::TokenServiceRef;

/// A token of a partner's domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.partnerRef) != has(self.samlIssuer)").message("exactly one of partnerRef (signed tokens) and samlIssuer (SAML assertions)"))]
#[x_kube(validation = Rule::new("(self.grant == 'SamlBearer') == has(self.samlIssuer)").message("samlIssuer goes with grant: SamlBearer, and only with it"))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeSpec {
    /// Whose signed tokens are brought, e.g. `{name: partner}`. Its keys verify them first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_ref: Option<TokenServiceRef>,
    /// Whose SAML assertions are brought: its entity identifier, e.g. `https://idp.partner.example`. The token service
    /// checks their signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub saml_issuer: Option<String>,
    /// One of these must stand in `aud` of the partner's token, or in every AudienceRestriction of its assertion.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub partner_audiences: Vec<String>,
    /// Which `typ` the partner's token has: AccessToken (default) or Any.
    #[serde(default)]
    pub token_type: JwtTypeSpec,
    /// Who exchanges them, e.g. `{name: login}`.
    pub token_service_ref: TokenServiceRef,
    /// TokenExchange (default, RFC 8693), JwtBearer (RFC 7523) or SamlBearer (RFC 7522).
    #[serde(default)]
    pub grant: ExchangeGrantSpec,
    /// `audience` of the exchange; it must stand in `aud` of the result, e.g. `https://orders.example.com`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// Scopes to ask for, e.g. `[orders:read]`; left out, the token service decides.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub scopes: Vec<String>,
    /// What the application gets: Original (default; the token that the exchange gave), Minted or None.
    #[serde(default)]
    pub upstream_token: UpstreamTokenSpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// How a partner's token is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ExchangeGrantSpec {
    /// The token is an assertion (RFC 7523 section 2.1).
    JwtBearer,
    /// A SAML 2.0 assertion (RFC 7522 section 2.1).
    SamlBearer,
    /// The token is a subject token (RFC 8693).
    #[default]
    TokenExchange,
}
