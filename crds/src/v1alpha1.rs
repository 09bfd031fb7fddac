//! Version v1alpha1, one kind per file.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

mod access;
mod api_policy;
mod api_route;
mod authentication;
mod authorization;
mod client_registration;
mod exchange;
mod grants;
mod limits;
mod mint;
mod token_service;

pub use access::{
    AccessApproval, AccessDecision, AccessRequest, AccessState, AccessVerdict, ApiAccessSpec, ApiRef, AutomaticAccess,
    Environment,
};
pub use api_policy::{ApiPolicy, ApiPolicySpec, ApiPolicyStatus, PolicyMode, Precedence, SAYS_NOTHING, TargetRef};
pub use api_route::{
    AdditionalHeaderSpec, ApiDescription, ApiRoute, ApiRouteSpec, ApiRouteStatus, AppProtocolSpec, ClientAddressSpec,
    CorsSpec, ForwardedHeadersSpec, ForwardingHeaderSpec, HeaderMatchSpec, MatchSpec, PathMatchSpec, PathMatchType,
    RuleSpec, UpgradeSpec, UpstreamSpec, WorkloadSelector,
};
pub use authentication::{
    AnonymousSpec, ApiKeyPlace, ApiKeySpec, AuthenticationSpec, AuthenticatorSpec, BasicSpec, BindingMethodSpec,
    CertificateNameSpec, CertificateNameType, ClientCertificateSpec, CredentialSpec, DigestAlgorithmSpec, DigestSpec,
    IntrospectionRuleSpec, JwtRuleSpec, JwtTypeSpec, SenderConstraintSpec, SignedKeySpec, UpstreamIdentitySpec,
    UpstreamTokenSpec,
};
pub use authorization::{
    AuthorizationSpec, CedarSpec, ClaimAttributeSpec, ClaimSpec, ClaimTypeSpec, ClientAddressesSpec, DecisionPointSpec,
    ExternalSpec, FailureModeSpec, HeaderConditionSpec, PathParameterSpec, RangeSpec, RequestConditionSpec, RolesSpec,
    ScopesSpec, TimeWindowsSpec, ToldClaimSpec, WeekdaySpec, WindowSpec,
};
pub use client_registration::{
    ClientAuthenticationSpec, ClientMetadataSpec, ClientMethod, ClientRegistration, ClientRegistrationSpec,
    ClientRegistrationStatus, DeletionPolicy, DriftPolicy, GrantType, ResponseType, RotationSpec, ServerErrorStatus,
    TlsSubject, TlsSubjectType,
};
pub use exchange::{ExchangeGrantSpec, ExchangeSpec};
pub use grants::{OwnedScopes, PerNamespaceClientSpec, RegistrationLimit, ScopeGrant};
pub use limits::{
    AbsentKeySpec, LimitKeySpec, LimitKeyType, LimitsSpec, PeriodSpec, RateLimitSpec, RateSpec, SpikeArrestSpec,
    SpikeKeySpec, SpikePeriodSpec,
};
pub use mint::{ClaimSourceSpec, MintSpec};
pub use token_service::{
    AllowedNamespaces, Answer, CacheSpec, Discovery, EndpointsSpec, GatewayClientSpec, IntrospectionSpec,
    JwtMemberSpec, MemberAcceptSpec, NamespacesFrom, RegistrationSpec, SecretMethod, TokenService, TokenServiceSpec,
    TokenServiceStatus, TrustSpec,
};

/// The four definitions with the file that each is checked in as.
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("tokenservices.yaml", TokenService::crd()),
        ("apiroutes.yaml", ApiRoute::crd()),
        ("apipolicies.yaml", ApiPolicy::crd()),
        ("clientregistrations.yaml", ClientRegistration::crd()),
    ]
}
