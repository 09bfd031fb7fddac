// Checks over real HTTP that the token service does what its README says: one line a check, then "N passed, N failed".
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { authorize, form, json, startServer } from './proof-client.mjs';

const ORDERS = 'urn:portreeve:orders';
const SITE = 'https://orders.example.com';
let passed = 0;
let failed = 0;

function check(name, ok, note = '') {
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}${note === '' ? '' : ` (${note})`}`);
}

const service = await startServer();
const { issuer, control, initialToken, gatewayToken } = service;
const metadata = (await json('GET', `${issuer}/.well-known/openid-configuration`)).body;
const keySet = () => createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 0 });
const MACHINE = { client_name: 'orders-worker', token_endpoint_auth_method: 'client_secret_basic', scope: 'orders:read orders:write' };

const register = (body, bearer = initialToken) => json('POST', metadata.registration_endpoint, { bearer, body });
const token = (client, fields, more = {}) => form(metadata.token_endpoint, fields, { client, ...more });
const machineToken = async (client, fields = {}) => (await token(client, { grant_type: 'client_credentials', scope: 'orders:read', ...fields })).body;
const introspect = (client, value, more = {}) => form(metadata.introspection_endpoint, { token: value }, { client, ...more });
const command = (route, body) => json(route.split(' ')[0], control + route.split(' ')[1], { body });

async function discovery() {
  check('OpenID metadata names every endpoint used', ['registration', 'token', 'introspection', 'revocation', 'authorization'].every((one) => metadata[`${one}_endpoint`]?.startsWith(issuer)));
  check('RFC 8414 metadata', (await json('GET', `${issuer}/.well-known/oauth-authorization-server`)).body.issuer === issuer);
  const { keys } = (await json('GET', metadata.jwks_uri)).body;
  check('JWKS with four algorithms', keys.map((key) => `${key.kid}:${key.alg}`).sort().join() === 'ed-1:EdDSA,es-1:ES256,ps-1:PS256,rs-1:RS256', keys.map((key) => key.kid).join());
  check('JWKS holds nothing private', keys.every((key) => key.d === undefined));
}

async function registration() {
  check('registration without a token: refused', [400, 401].includes((await register(MACHINE, '')).status));
  check('registration with a wrong token: 401', (await register(MACHINE, 'wrong')).status === 401);
  const made = await register({ ...MACHINE, org_unit: 'team-a', software_id: 'worker', software_version: '7' });
  const client = made.body;
  check('registration with the initial access token', made.status === 201 && client.client_secret && client.registration_client_uri.startsWith(issuer), made.body.error_description);
  check('vendor metadata survives', client.org_unit === 'team-a' && client.software_id === 'worker' && client.software_version === '7');
  check('any scope below orders: can be registered', (await register({ ...MACHINE, scope: 'orders:cancel orders:ship.now invoices:read' })).status === 201);
  const strange = await register({ ...MACHINE, scope: 'payroll:read' });
  check('another scope cannot', strange.status === 400 && strange.body.error === 'invalid_client_metadata', strange.body.error_description);
  const once = (await command('POST /initial-access-token', { uses: 1 })).body.initial_access_token;
  const uses = [(await register(MACHINE, once)).status, (await register(MACHINE, once)).status];
  check('an initial access token of one use', uses.join() === '201,401', uses.join());
  const more = (await command('POST /initial-access-token')).body.initial_access_token;
  const again = [(await register(MACHINE, more)).status, (await register(MACHINE, more)).status];
  check('one without a limit', again.join() === '201,201');
  return client;
}

async function management(client) {
  const { registration_client_uri: uri, registration_access_token: first, client_secret_expires_at: _, client_id_issued_at: __, ...own } = client;
  check('read', (await json('GET', uri, { bearer: first })).body.client_id === client.client_id);
  const echo = await json('PUT', uri, { bearer: first, body: client });
  check('an update that echoes server-set members: refused', echo.status === 400, echo.body.error_description);
  const put = await json('PUT', uri, { bearer: first, body: { ...own, client_name: 'renamed', org_unit: undefined } });
  const second = put.body.registration_access_token;
  check('update', put.status === 200 && put.body.client_name === 'renamed', put.body.error_description);
  check('an update replaces: what it leaves out is gone', put.body.org_unit === undefined);
  check('and rotates the management token', second && second !== first && (await json('GET', uri, { bearer: first })).status === 401);
  check('delete', (await json('DELETE', uri, { bearer: second })).status === 204);
  check('after that: 401', (await json('GET', uri, { bearer: second })).status === 401);
}

async function accessTokens(worker, gateway) {
  const opaque = await machineToken(worker);
  check('client credentials: an opaque token', opaque.access_token && !opaque.access_token.includes('.') && opaque.expires_in === 300, `${opaque.access_token?.length} characters, ${opaque.expires_in} s`);
  const structured = await machineToken(worker, { resource: ORDERS });
  const verified = await jwtVerify(structured.access_token, keySet(), { issuer, audience: ORDERS, typ: 'at+jwt' });
  check('for the JWT resource: at+jwt, ES256', verified.protectedHeader.alg === 'ES256' && verified.protectedHeader.kid === 'es-1', `scope ${verified.payload.scope}`);
  const sited = await machineToken(worker, { resource: SITE });
  const seen = (await introspect(gateway, sited.access_token)).body;
  check('for another resource: opaque, and introspection names the audience', !sited.access_token.includes('.') && seen.active && seen.aud === SITE, `aud ${seen.aud}`);
  const plain = (await introspect(gateway, opaque.access_token)).body;
  check('without a resource: no audience', plain.active && plain.aud === undefined, Object.keys(plain).join(' '));
  const refused = await introspect(gateway, structured.access_token);
  check('introspection of a JWT access token', refused.status === 400, refused.body.error);
  const learnt = await machineToken((await register({ ...MACHINE, scope: 'orders:fresh' })).body, { scope: 'orders:fresh', resource: SITE });
  check('a scope never heard of before, in a token', learnt.scope === 'orders:fresh', learnt.error_description);
}

async function introspection(worker, gateway) {
  const value = (await machineToken(worker)).access_token;
  check('the gateway may introspect the tokens of others', (await introspect(gateway, value)).body.active === true);
  check('the owner may', (await introspect(worker, value)).body.active === true);
  const stranger = (await register(MACHINE)).body;
  const told = await introspect(stranger, value);
  const pretender = (await register({ ...MACHINE, software_id: 'portreeve-gateway', may_introspect: true })).body;
  const lied = await introspect(pretender, value);
  check('one who says that he is a gateway learns nothing either', lied.body.active === false, JSON.stringify(lied.body));
  check('a stranger learns nothing', told.body.active === false && Object.keys(told.body).length === 1, JSON.stringify(told.body));
  check('an unknown token is inactive', (await introspect(gateway, 'unknown')).body.active === false);
  check('a wrong secret: 401', (await introspect(gateway, value, { secret: 'wrong' })).status === 401);
  await form(metadata.revocation_endpoint, { token: value }, { client: worker });
  check('a revoked token is inactive', (await introspect(gateway, value)).body.active === false);
  const signing = (await register({ ...MACHINE, introspection_signed_response_alg: 'ES256' }, gatewayToken)).body;
  const signed = await introspect(signing, (await machineToken(worker)).access_token, { accept: 'application/token-introspection+jwt' });
  const verified = await jwtVerify(signed.text, keySet(), { issuer, typ: 'token-introspection+jwt' });
  check('RFC 9701 for a client registered for it', verified.payload.token_introspection.active === true, signed.type);
}

async function dialect(worker, gateway) {
  const accept = 'application/jwt';
  const value = (await machineToken(worker, { resource: SITE })).access_token;
  const answer = await introspect(gateway, value, { accept });
  const { payload, protectedHeader } = await jwtVerify(answer.text, keySet(), { issuer, audience: SITE, typ: 'at+jwt' });
  check('JWT body: signed, at+jwt', answer.status === 200 && answer.type === accept && protectedHeader.kid === 'es-1', JSON.stringify(payload));
  check('JWT body: all claims', ['iss', 'aud', 'sub', 'exp', 'iat', 'client_id', 'scope', 'jti'].every((name) => payload[name] !== undefined) && payload.active === undefined && payload.sub === worker.client_id);
  check('JWT body: the same jti at every asking', (await jwtVerify((await introspect(gateway, value, { accept })).text, keySet())).payload.jti === payload.jti);
  const inactive = await introspect(gateway, 'unknown', { accept });
  check('JWT body: inactive is 204 without a body', inactive.status === 204 && inactive.text === '');
  check('JWT body: a wrong secret is 401', (await introspect(gateway, value, { accept, secret: 'wrong' })).status === 401);
  check('another Accept: plain JSON', (await introspect(gateway, value, { accept: 'application/json' })).body.active === true);
  check('Accept with both and parameters', (await introspect(gateway, value, { accept: 'application/jwt;q=1, application/json;q=0.5' })).type === accept);
}

async function users(gateway) {
  const web = (await register({ redirect_uris: ['https://app.example.com/callback'], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none', scope: 'openid offline_access orders:read' })).body;
  const exchange = (fields) => token(undefined, { client_id: web.client_id, ...fields });
  const redeem = ({ code, verifier }, more) => exchange({ grant_type: 'authorization_code', code, redirect_uri: web.redirect_uris[0], code_verifier: verifier, ...more });
  const granted = await authorize(issuer, web, { scope: 'openid offline_access orders:read', prompt: 'consent', resource: SITE });
  const wrong = await authorize(issuer, web, { scope: 'openid orders:read' });
  check('a wrong PKCE verifier: refused', (await redeem({ ...wrong, verifier: 'v'.repeat(43) })).status === 400);
  const tokens = await redeem(granted);
  const seen = (await introspect(gateway, tokens.body.access_token ?? '')).body;
  check('authorization code with PKCE', tokens.status === 200 && seen.sub === 'alice' && seen.aud === SITE, tokens.body.error_description ?? `scope ${seen.scope}`);
  const id = await jwtVerify(tokens.body.id_token, keySet(), { issuer, audience: web.client_id });
  check('ID token', id.payload.sub === 'alice', id.protectedHeader.kid);
  const renewed = await exchange({ grant_type: 'refresh_token', refresh_token: tokens.body.refresh_token ?? '' });
  check('refresh', renewed.status === 200 && renewed.body.access_token !== tokens.body.access_token, renewed.body.error_description);
  const code = await authorize(issuer, web, { scope: 'openid orders:read', resource: ORDERS });
  const structured = await jwtVerify((await redeem(code, { resource: ORDERS })).body.access_token, keySet(), { issuer, audience: ORDERS, typ: 'at+jwt' });
  check('a user in a JWT access token', structured.payload.sub === 'alice', `scope ${structured.payload.scope}`);
  const short = await form(metadata.token_endpoint, { grant_type: 'authorization_code', code: granted.code, client_id: web.client_id, redirect_uri: web.redirect_uris[0], code_verifier: granted.verifier });
  check('a code used twice: refused', short.status === 400, short.body.error);
}

async function faults(worker, gateway) {
  const path = '/token/introspection';
  const value = (await machineToken(worker)).access_token;
  const ask = (more) => introspect(gateway, value, more);
  await command('POST /fault', { path, status: 503, retryAfter: 2, times: 2 });
  check('a status, as often as asked', [(await ask()).status, (await ask()).status, (await ask()).status].join() === '503,503,200');
  await command('POST /fault', { path, delayMs: 300, times: null });
  const began = Date.now();
  const slow = await ask();
  check('a delay, and then the answer', slow.body.active && Date.now() - began >= 300, `${Date.now() - began} ms`);
  await command('DELETE /fault');
  const resumed = Date.now();
  await ask();
  check('no fault after DELETE', Date.now() - resumed < 250);
  await command('POST /fault', { path, body: 'html', times: 1 });
  check('an HTML page with 200', (await ask()).type === 'text/html');
  await command('POST /fault', { path, body: 'huge', times: 1 });
  const huge = await ask();
  check('a huge body', huge.text.length > 32e6, `${huge.text.length} bytes`);
  for (const body of ['truncated', 'reset']) {
    await command('POST /fault', { path, body, times: 1 });
    check(`a ${body} answer`, await ask().then(() => false, () => true));
  }
  const wrong = await command('POST /fault', { path, body: 'nonsense' });
  check('a wrong fault is refused', wrong.status === 400, wrong.body.error);
  await command('DELETE /calls');
  await ask();
  await ask({ accept: 'application/jwt' });
  const calls = (await command('GET /calls')).body;
  check('calls are counted, each once', calls[path] === 2 && Object.keys(calls).length === 1, JSON.stringify(calls));
}

async function keys(worker) {
  const sign = async (body) => (await command('POST /sign', body)).body.jwt;
  for (const kid of ['es-1', 'rs-1', 'ps-1', 'ed-1']) {
    const jwt = await sign({ kid, claims: { iss: issuer, sub: 'x' } });
    check(`sign with ${kid}`, (await jwtVerify(jwt, keySet(), { issuer })).protectedHeader.kid === kid);
  }
  const odd = decodeProtectedHeader(await sign({ alg: 'RS256', header: { typ: 'JWT', kid: null, crit: ['x'] }, claims: {} }));
  check('any header', odd.typ === 'JWT' && odd.kid === undefined && odd.crit[0] === 'x', JSON.stringify(odd));
  check('alg none', (await sign({ alg: 'none', claims: {} })).endsWith('.'));
  check('HS256 keyed with the public key', decodeProtectedHeader(await sign({ alg: 'HS256', header: { kid: 'rs-1' }, claims: {} })).alg === 'HS256');
  const before = (await machineToken(worker, { resource: ORDERS })).access_token;
  const added = (await command('POST /rotate-keys')).body.kid;
  const after = (await machineToken(worker, { resource: ORDERS })).access_token;
  check('rotation: the new key signs, the old one still verifies', added === 'es-2' && decodeProtectedHeader(after).kid === 'es-2' && (await jwtVerify(before, keySet())).protectedHeader.kid === 'es-1');
  const third = (await command('POST /rotate-keys', { removeOld: true })).body.kid;
  const left = (await json('GET', metadata.jwks_uri)).body.keys.map((key) => key.kid);
  check('rotation that removes the old ones', third === 'es-3' && left.join() === 'es-3,rs-1,ps-1,ed-1', left.join());
  check('clients and tokens outlive it', (await machineToken(worker)).access_token !== undefined);
  check('a removed key can still sign for a test', decodeProtectedHeader(await sign({ kid: 'es-1', claims: {} })).kid === 'es-1');
}

// The address of a server with an issuer of its own is known only when its port is chosen by the caller.
async function settings() {
  const port = String(20000 + Math.floor(Math.random() * 10000));
  const local = `http://127.0.0.1:${port}`;
  const other = await startServer({ PORT: port, ACCESS_TOKEN_TTL: '1', ISSUER: 'https://login.example.com', JWT_RESOURCES: `${SITE},urn:b` });
  const named = (await json('GET', `${local}/.well-known/openid-configuration`)).body;
  check('ISSUER', other.issuer === named.issuer && named.token_endpoint === 'https://login.example.com/token', named.token_endpoint);
  const client = (await json('POST', `${local}/reg`, { bearer: other.gatewayToken, body: MACHINE })).body;
  check('its management address too', client.registration_client_uri.startsWith('https://login.example.com/reg/'));
  const ask = async (resource) => (await form(`${local}/token`, { grant_type: 'client_credentials', resource }, { client })).body;
  const { access_token: structured } = await ask(SITE);
  const { access_token: opaque, expires_in: lifetime } = await ask(ORDERS);
  check('JWT_RESOURCES', structured?.split('.').length === 3 && !opaque.includes('.'));
  check('ACCESS_TOKEN_TTL', lifetime === 1);
  await new Promise((done) => { setTimeout(done, 2100); });
  check('a token past its time is inactive', (await form(`${local}/token/introspection`, { token: opaque }, { client })).body.active === false);
  const stopped = await other.stop();
  check('SIGTERM ends it at once', stopped.code === 0 && stopped.ms < 500, `${stopped.ms} ms`);
}

await discovery();
await management(await registration());
const worker = (await register(MACHINE)).body;
const gateway = (await register({ ...MACHINE, client_name: 'gateway' }, gatewayToken)).body;
await accessTokens(worker, gateway);
await introspection(worker, gateway);
await dialect(worker, gateway);
await users(gateway);
await faults(worker, gateway);
await keys(worker);
await settings();
check('nothing on stderr', service.complaints() === '', service.complaints().slice(0, 200));
await service.stop();
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
