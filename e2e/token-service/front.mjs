// What listens for clients: counts, faults, scopes and the JWT dialect, and behind it the provider on a port of its own.
import http from 'node:http';
import * as dialect from './dialect.mjs';

const HOP = ['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'upgrade', 'te', 'trailer'];

export async function readBody(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  return Buffer.concat(parts);
}

export const listen = (server, port, host) => new Promise((done, failed) => {
  server.once('error', failed);
  server.listen(port, host, () => done(server.address().port));
});

// How many requests were open at once, by the first segment of their path.
export function createPeaks() {
  const open = new Map();
  const most = new Map();
  return {
    enter(path, res) {
      const first = `/${path.split('/')[1]}`;
      const now = (open.get(first) ?? 0) + 1;
      open.set(first, now);
      most.set(first, Math.max(now, most.get(first) ?? 0));
      res.on('close', () => open.set(first, open.get(first) - 1));
    },
    read: () => Object.fromEntries(most),
  };
}

// One request to the provider, its answer as a whole.
function ask(req, body, { port, issuer, headers }) {
  const { host, protocol } = new URL(issuer);
  const passed = Object.fromEntries(Object.entries(req.headers).filter(([name]) => !HOP.includes(name)));
  return new Promise((done, failed) => {
    const inner = http.request({
      host: '127.0.0.1', port, method: req.method, path: req.url,
      headers: { ...passed, host, 'x-forwarded-host': host, 'x-forwarded-proto': protocol.slice(0, -1), 'content-length': body.length, ...headers },
    }, async (res) => {
      try {
        done({ status: res.statusCode, headers: res.headers, body: await readBody(res) });
      } catch (error) {
        failed(error);
      }
    });
    inner.on('error', failed);
    inner.end(body);
  });
}

function send(res, { status, headers, body }) {
  for (const [name, value] of Object.entries(headers)) {
    if (!HOP.includes(name)) res.setHeader(name, value);
  }
  res.statusCode = status;
  res.end(body.length ? body : undefined);
}

// `state` has the issuer, the keys, the faults, the calls and the provider's port; `learn` takes up unknown scopes.
export function createFront(state) {
  return http.createServer(async (req, res) => {
    try {
      const path = new URL(req.url, 'http://any').pathname;
      state.calls.set(path, (state.calls.get(path) ?? 0) + 1);
      state.peaks.enter(path, res);
      const body = await readBody(req);
      if (await state.faults.answered(path, res)) return;
      state.learn(`${req.url} ${body}`);
      if (dialect.isAsked(req, path)) {
        const answer = await ask(req, body, { ...state, headers: { accept: 'application/json' } });
        send(res, dialect.translate(answer, new URLSearchParams(String(body)).get('token') ?? '', state));
      } else {
        send(res, await ask(req, body, state));
      }
    } catch (error) {
      console.error(`${req.method} ${req.url}:`, error);
      if (!res.headersSent) res.writeHead(500);
      res.end();
    }
  });
}
