// How oidc-provider is configured: machine clients, users who log in with any name, registration and its management.
import { Provider } from 'oidc-provider';
import { registerExchange } from './assertions.mjs';

const DAY = 86400;

// A client that names no redirect URI is a machine, and need not spell out what follows from that.
function machineDefaults(ctx, properties) {
  if (properties.redirect_uris?.length) return;
  properties.redirect_uris = [];
  properties.response_types ??= [];
  properties.grant_types ??= ['client_credentials'];
}

// Who may introspect the tokens of others says the initial access token, never the client itself: everybody can claim
// any software_id. The policies of the initial access token are those of the client's registration token too.
const MARK = 'may_introspect';
function application(ctx, properties) { delete properties[MARK]; }
function gateway(ctx, properties) { properties[MARK] = true; }

export const freshUses = () => new Map();

// The provider knows no limit of uses for an initial access token: the last use destroys it.
const limitUses = (uses) => async (ctx) => {
  const token = ctx.oidc.entities.InitialAccessToken;
  const left = token && uses.get(token.jti);
  if (left === undefined) return;
  uses.set(token.jti, left - 1);
  if (left <= 1) await token.destroy();
};

function resources({ jwtResources, lifetime, scopes }) {
  return {
    enabled: true,
    defaultResource: () => [],
    useGrantedResource: () => true,
    getResourceServerInfo: (ctx, resource) => ({
      audience: resource,
      scope: [...scopes].join(' '),
      accessTokenTTL: lifetime,
      accessTokenFormat: jwtResources.includes(resource) ? 'jwt' : 'opaque',
      jwt: { sign: { alg: 'ES256' } },
    }),
  };
}

function features(options) {
  return {
    clientCredentials: { enabled: true },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) => client.metadata()[MARK] === true || client.clientId === token.clientId,
    },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    registration: {
      enabled: true,
      initialAccessToken: true,
      policies: { machineDefaults, application, gateway, limitUses: limitUses(options.uses) },
    },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: true },
    resourceIndicators: resources(options),
  };
}

export function createProvider({ issuer, store, keys, ...options }) {
  const { lifetime, scopes } = options;
  const signing = ['ES256', 'RS256', 'PS256', 'EdDSA'];
  const provider = new Provider(issuer, {
    adapter: store,
    jwks: keys.jwks(),
    cookies: { keys: ['a secret of tests only'] },
    scopes: [...scopes],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { idTokenSigningAlgValues: signing, introspectionSigningAlgValues: signing },
    extraClientMetadata: { properties: ['org_unit', 'software_id', 'software_version', MARK], validator() {} },
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    pkce: { required: () => true },
    ttl: {
      AccessToken: lifetime, ClientCredentials: lifetime, AuthorizationCode: 60, RefreshToken: DAY, Grant: DAY, IdToken: lifetime,
      Interaction: 600, Session: DAY, RegistrationAccessToken: 30 * DAY, InitialAccessToken: 30 * DAY,
    },
    features: features(options),
  });
  const { getResourceServerInfo } = resources(options);
  registerExchange(provider, { ...options, issuer, getResourceServerInfo });
  provider.proxy = true;   // the front names host and protocol as the issuer has them
  provider.on('server_error', (ctx, error) => console.error(`${ctx.method} ${ctx.path}:`, error));
  return provider;
}

export async function initialAccessToken(provider, uses, kind, limit) {
  const token = new provider.InitialAccessToken({ policies: ['machineDefaults', kind, 'limitUses'] });
  const value = await token.save();
  if (limit) uses.set(value, limit);
  return value;
}
