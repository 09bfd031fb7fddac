// A real OAuth authorization server for Portreeve's tests. The first line on stdout is JSON:
// {"issuer", "initial_access_token", "gateway_access_token", "control"}. README.md lists the environment variables.
import './quiet.mjs';
import http from 'node:http';
import { createSamlPartner } from './assertions.mjs';
import { createControl } from './control.mjs';
import { createFaults } from './faults.mjs';
import { createFront, createPeaks, listen } from './front.mjs';
import { createKeys } from './keys.mjs';
import { createProvider, freshUses, initialAccessToken } from './provider.mjs';
import { createStore } from './store.mjs';

const { HOST = '127.0.0.1', PORT = '0', ISSUER, PARTNERS = '', JWT_RESOURCES = 'urn:portreeve:orders', ACCESS_TOKEN_TTL = '300' } = process.env;
const SCOPES = ['openid', 'offline_access', 'orders:read', 'orders:write', 'invoices:read'];
const ORDERS = /orders(?::|%3A)[a-z0-9._-]+/gi;   // in JSON and in forms; what it finds too much does no harm

function settings() {
  const lifetime = Number(ACCESS_TOKEN_TTL);
  if (!Number.isInteger(lifetime) || lifetime < 1) throw new Error(`ACCESS_TOKEN_TTL=${ACCESS_TOKEN_TTL}: wanted seconds, at least 1`);
  const port = Number(PORT);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`PORT=${PORT}: wanted a port, or 0 for a free one`);
  const list = (text) => text.split(',').map((one) => one.trim()).filter(Boolean);
  return { lifetime, port, jwtResources: list(JWT_RESOURCES), partners: list(PARTNERS) };
}

async function main() {
  const { lifetime, port, jwtResources, partners } = settings();
  const state = { keys: await createKeys(), faults: createFaults(), calls: new Map(), peaks: createPeaks(), uses: freshUses(), scopes: new Set(SCOPES), saml: createSamlPartner() };
  const store = createStore();
  state.store = store;
  let provider;
  let callback;

  // Keys and scopes are fixed when a provider is made. A new one over the same store takes over without a seam.
  state.renew = () => {
    provider = createProvider({ ...state, store, lifetime, jwtResources, partners });
    callback = provider.callback();
  };
  // Every scope below orders: is accepted, and the provider knows only lists: what is asked for joins the list first.
  state.learn = (text) => {
    const fresh = (text.match(ORDERS) ?? []).map((one) => one.replace(/%3A/i, ':')).filter((one) => !state.scopes.has(one));
    if (!fresh.length) return;
    fresh.forEach((one) => state.scopes.add(one));
    state.renew();
  };
  state.newInitialAccessToken = (limit, kind = 'application') => initialAccessToken(provider, state.uses, kind, limit);

  const inner = http.createServer((req, res) => callback(req, res));
  state.port = await listen(inner, 0, '127.0.0.1');
  const front = createFront(state);
  const at = await listen(front, port, HOST);
  state.issuer = ISSUER ?? `http://${HOST.includes(':') ? `[${HOST}]` : HOST}:${at}`;
  state.renew();
  const control = createControl(state);
  const controlPort = await listen(control, 0, '127.0.0.1');

  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
  console.log(JSON.stringify({
    issuer: state.issuer, initial_access_token: await state.newInitialAccessToken(),
    gateway_access_token: await state.newInitialAccessToken(undefined, 'gateway'), control: `http://127.0.0.1:${controlPort}`,
  }));
}

main().catch((error) => {
  console.error(`token service: ${error.message}`);
  process.exit(1);
});
