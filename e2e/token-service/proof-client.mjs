// What proof.mjs drives a running token service with: registration, forms, the walk through login and consent.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export async function startServer(environment = {}) {
  const file = fileURLToPath(new URL('server.mjs', import.meta.url));
  const child = spawn(process.execPath, [file], { env: { ...process.env, PORT: '0', ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  process.on('exit', () => child.kill());   // also when a check throws
  let complaints = '';
  child.stderr.on('data', (text) => { complaints += text; });
  for await (const line of createInterface({ input: child.stdout })) {
    const told = JSON.parse(line);
    return {
      child, ...told, initialToken: told.initial_access_token, gatewayToken: told.gateway_access_token, complaints: () => complaints,
      stop: () => new Promise((done) => {
        const asked = Date.now();
        child.on('exit', (code) => done({ code, ms: Date.now() - asked }));
        child.kill('SIGTERM');
      }),
    };
  }
  throw new Error(`the server said nothing: ${complaints}`);
}

export const basic = (client, secret = client.client_secret) => `Basic ${Buffer.from(`${encodeURIComponent(client.client_id)}:${encodeURIComponent(secret)}`).toString('base64')}`;

async function whole(response) {
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  return { status: response.status, type, text, body: /^application\/(.+\+)?json/.test(type) ? JSON.parse(text) : undefined };
}

export async function json(method, url, { bearer, body } = {}) {
  const headers = { ...(bearer && { authorization: `Bearer ${bearer}` }), ...(body && { 'content-type': 'application/json' }) };
  return whole(await fetch(url, { method, headers, body: body && JSON.stringify(body) }));
}

export async function form(url, fields, { client, secret, accept, ...more } = {}) {
  const headers = { ...(client && { authorization: basic(client, secret) }), ...(accept && { accept }) };
  return whole(await fetch(url, { method: 'POST', headers, body: new URLSearchParams(fields), ...more }));
}

// Through the pages of login and consent, as a browser would go; gives the code, or throws with what it met.
export async function authorize(issuer, client, fields) {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: client.client_id, response_type: 'code', redirect_uri: client.redirect_uris[0], state: 'opaque',
    code_challenge_method: 'S256', code_challenge: createHash('sha256').update(verifier).digest('base64url'), ...fields,
  });
  const cookies = new Map();
  const visit = async (url, posted) => {
    const response = await fetch(url, {
      method: posted ? 'POST' : 'GET', body: posted && new URLSearchParams(posted), redirect: 'manual',
      headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [name, value] = cookie.split(';')[0].split('=');
      cookies.set(name, value);
    }
    return response;
  };
  let response = await visit(`${issuer}/auth?${query}`);
  for (let step = 0; step < 15; step += 1) {
    const to = response.headers.get('location');
    if (!to) throw new Error(`${response.status} ${(await response.text()).slice(0, 300)}`);
    const url = new URL(to, issuer);
    if (url.href.startsWith(client.redirect_uris[0])) return { code: url.searchParams.get('code'), verifier, error: url.searchParams.get('error_description') };
    response = await visit(url);
    if (response.status === 200) {
      const prompt = /name="prompt" value="(\w+)"/.exec(await response.text())?.[1];
      response = await visit(url, { prompt, login: 'alice', password: 'any' });
    }
  }
  throw new Error('the login never came to its end');
}
