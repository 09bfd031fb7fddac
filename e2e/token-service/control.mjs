// The control port: for tests only, on loopback, with no authentication.
import http from 'node:http';
import { readBody } from './front.mjs';

function routes(state) {
  return {
    'POST /fault': (body) => { state.faults.set(body); return {}; },
    'DELETE /fault': () => { state.faults.clear(); return {}; },
    'GET /calls': () => Object.fromEntries(state.calls),
    'DELETE /calls': () => { state.calls.clear(); return {}; },
    'GET /peaks': () => state.peaks.read(),
    'POST /rotate-keys': async ({ removeOld }) => {
      const kid = await state.keys.rotate(Boolean(removeOld));
      state.renew();
      return { kid };
    },
    'POST /sign': (body) => ({ jwt: state.keys.sign(body) }),
    'POST /saml': (body) => ({ assertion: state.saml.sign({ audience: state.issuer, ...body }) }),
    'POST /initial-access-token': async ({ uses }) => ({ initial_access_token: await state.newInitialAccessToken(uses) }),
    'POST /clients': ({ software_id }) => state.store.list('Client', 'software_id', software_id),
    'POST /delete-client': async ({ client_id }) => { await state.store('Client').destroy(client_id); return {}; },
  };
}

export function createControl(state) {
  const known = routes(state);
  return http.createServer(async (req, res) => {
    const reply = (status, body) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const route = known[`${req.method} ${req.url}`];
    if (!route) return reply(404, { error: `no such route; there are: ${Object.keys(known).join(', ')}` });
    try {
      const body = String(await readBody(req));
      return reply(200, await route(body ? JSON.parse(body) : {}));
    } catch (error) {
      return reply(400, { error: error.message });
    }
  });
}
