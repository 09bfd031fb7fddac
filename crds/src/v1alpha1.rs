//! Version v1alpha1, one kind per file.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

mod access;
mod api_policy;
mod api_route;
mod client_registration;
mod token_service;

pub use access::{
    AccessApproval, AccessDecision, AccessRequest, AccessState, AccessVerdict, ApiAccessSpec, ApiRef, AutomaticAccess,
    Environment,
};
pub use api_policy::{
    AnonymousSpec, ApiPolicy, ApiPolicySpec, ApiPolicyStatus, AuthenticationSpec, AuthenticatorSpec, AuthorizationSpec,
    IntrospectionRuleSpec, JwtRuleSpec, Precedence, ScopesSpec, TargetRef, UpstreamTokenSpec,
};
pub use api_route::{
    ApiDescription, ApiRoute, ApiRouteSpec, ApiRouteStatus, AppProtocolSpec, ForwardedHeadersSpec, HeaderMatchSpec,
    MatchSpec, PathMatchSpec, PathMatchType, RuleSpec, UpgradeSpec, UpstreamSpec, WorkloadSelector,
};
pub use client_registration::{
    ClientAuthenticationSpec, ClientMetadataSpec, ClientMethod, ClientRegistration, ClientRegistrationSpec,
    ClientRegistrationStatus, DeletionPolicy, DriftPolicy, GrantType, ResponseType, RotationSpec, ServerErrorStatus,
    TlsSubject, TlsSubjectType,
};
pub use token_service::{
    AllowedNamespaces, Answer, CacheSpec, Discovery, EndpointsSpec, GatewayClientSpec, IntrospectionSpec,
    NamespacesFrom, RegistrationSpec, SecretMethod, TokenService, TokenServiceSpec, TokenServiceStatus, TrustSpec,
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
