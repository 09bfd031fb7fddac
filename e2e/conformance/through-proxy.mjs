// Published vectors through a running proxy: a key set for each group of vectors, a route for each, real tokens.
// Prints one line of JSON for each suite, as the library's part does.
//
//   node through-proxy.mjs OPERATOR PROXY FOLDER
import { createPrivateKey, sign } from 'node:crypto';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [operatorProgram, proxyProgram, folder] = process.argv.slice(2);
const read = (path) => JSON.parse(readFileSync(join(here, path), 'utf8'));
const exclusions = read('exclusions.json');
const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const SUPPORTED = {
  RS256: ['sha256', 'pkcs1'], RS384: ['sha384', 'pkcs1'], RS512: ['sha512', 'pkcs1'],
  PS256: ['sha256', 'pss'], PS384: ['sha384', 'pss'], PS512: ['sha512', 'pss'], ES256: ['sha256', 'ec'],
  EdDSA: [null, 'ed'],
};

function signed(header, claims, jwk) {
  const [hash, kind] = SUPPORTED[header.alg];
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  const text = `${b64(header)}.${b64(claims)}`;
  const options = { pkcs1: { key, padding: 1 }, pss: { key, padding: 6, saltLength: -1 }, ec: { key, dsaEncoding: 'ieee-p1363' }, ed: { key } };
  return `${text}.${sign(hash, Buffer.from(text), options[kind]).toString('base64url')}`;
}

function publicPart(jwk) {
  const { d, p, q, dp, dq, qi, ...rest } = jwk;
  return rest;
}

// Every group of every file, with the key set that its token service publishes.
const groups = [];
for (const name of ['json_web_signature_test', 'json_web_key_test', 'json_web_crypto_test', 'json_web_encryption_test']) {
  for (const group of read(`../vectors/wycheproof/testvectors_v1/${name}.json`).testGroups) {
    const held = group.public ?? group.private;
    const keys = (held.keys ?? [held]).map(publicPart);
    const privates = (group.private?.keys ?? [group.private]).filter((key) => key?.d);
    groups.push({ name, group, keys, privates, id: `g${groups.length}` });
  }
}

// The examples of RFC 7520, RFC 8037 and RFC 7797, each with its own key. The algorithm is the publisher's to say.
const cookbook = [];
for (const part of ['jws', 'rfc7797', 'curve25519', 'jwe', '.']) {
  const within = join(here, '../vectors/jose-cookbook', part);
  for (const file of readdirSync(within).filter((one) => one.endsWith('.json')).sort()) {
    const example = JSON.parse(readFileSync(join(within, file), 'utf8'));
    const given = [example.input?.key].flat()[0];
    const key = given && { ...(given.alg ? {} : { alg: example.input.alg }), ...given };
    cookbook.push({ file, example, key, keys: key ? [publicPart(key)] : [], id: `c${cookbook.length}` });
  }
}

function header(token) {
  try {
    return JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString());
  } catch {
    return undefined;
  }
}

const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
const keyServer = createServer((asked, answer) => {
  const found = [...groups, ...cookbook].find(({ id }) => asked.url === `/${id}/jwks`);
  answer.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  answer.end(JSON.stringify({ keys: found?.keys ?? [] }));
});
let reached = 0;
const application = createServer((_, answer) => {
  reached += 1;
  answer.end('reached');
});
const [keyPort, appPort] = [await listen(keyServer), await listen(application)];
const issuer = (id) => `http://127.0.0.1:${keyPort}/${id}`;

function manifests() {
  const documents = [];
  for (const { id } of [...groups, ...cookbook]) {
    documents.push({
      apiVersion: 'portreeve.dev/v1alpha1', kind: 'TokenService', metadata: { name: id },
      spec: { issuer: issuer(id), discovery: 'None', endpoints: { jwks: `${issuer(id)}/jwks` } },
    }, {
      apiVersion: 'portreeve.dev/v1alpha1', kind: 'ApiRoute', metadata: { name: id },
      spec: {
        workloadSelector: { matchLabels: { app: 'vectors' } }, upstream: { port: appPort },
        rules: [{ name: 'all', matches: [{ path: { type: 'PathPrefix', value: `/${id}` } }] }],
      },
    }, {
      apiVersion: 'portreeve.dev/v1alpha1', kind: 'ApiPolicy', metadata: { name: id },
      spec: {
        targetRefs: [{ kind: 'ApiRoute', name: id }],
        authentication: { anyOf: [{ jwt: { tokenServiceRef: { name: id }, audiences: ['vectors'], tokenType: 'Any' } }] },
      },
    });
  }
  return documents.map((document) => JSON.stringify(document)).join('\n---\n');
}

const freePort = async () => {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
};
const [proxyPort, adminPort, operatorAdmin] = [await freePort(), await freePort(), await freePort()];
const [source, state] = [join(folder, 'source'), join(folder, 'state')];
mkdirSync(source, { recursive: true });
writeFileSync(join(source, 'vectors.yaml'), manifests());
const programs = [
  spawn(operatorProgram, ['--source', source, '--state', state, '--allow-http', '--allow-private-addresses', '--admin', `127.0.0.1:${operatorAdmin}`], { stdio: ['ignore', 'ignore', 'ignore'] }),
  spawn(proxyProgram, [], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: {
      PORTREEVE_LISTEN: `127.0.0.1:${proxyPort}`, PORTREEVE_ADMIN: `127.0.0.1:${adminPort}`,
      PORTREEVE_OPERATOR: `unix:${join(state, 'operator.sock')}`, PORTREEVE_WORKLOAD: 'default/vectors-1',
      PORTREEVE_LABELS: 'app=vectors', PORTREEVE_RECORDS: join(folder, 'records.log'), PORTREEVE_WORKERS: '1',
    },
  }),
];

function ask(port, path, token) {
  return new Promise((resolve) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    let asked;
    try {
      asked = request({ host: '127.0.0.1', port, path, headers, setHost: true });
    } catch {
      return resolve(400); // not even a field value: no client can send it
    }
    asked.on('response', (answer) => answer.resume().on('end', () => resolve(answer.statusCode)));
    asked.on('error', () => resolve(0));
    asked.end();
  });
}

const claims = (id) => ({ iss: issuer(id), aud: 'vectors', exp: Math.floor(Date.now() / 1000) + 300 });

async function ready() {
  // Ready means that a token of a good key is let through and every status is written: the key sets are there.
  const told = () => [...groups, ...cookbook].every((one) => existsSync(statusOf(one.id)));
  const { id, privates } = groups.find((one) => one.keys.some((key) => key.alg === 'ES256') && one.privates.length === 1);
  for (let tries = 0; tries < 200; tries += 1) {
    const token = signed({ alg: 'ES256', kid: privates[0].kid }, claims(id), privates[0]);
    if ((await ask(proxyPort, `/${id}`, token)) === 200 && told()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the proxy did not become ready in 20 s');
}

const statusOf = (id) => join(state, `status/TokenService/default/${id}.yaml`);

// Whether the operator says that no key of a set can be used: then nobody can tell a good token from a bad one, and every
// token of that issuer gets 503 (docs/outages.md), and only then.
function hasNoUsableKey(id) {
  return /^ *keys: 0$/m.test(readFileSync(statusOf(id), 'utf8'));
}

const refused = (id, status) => status === 400 || status === 401 || (status === 503 && hasNoUsableKey(id));

// What is to be expected of a vector: the reason why it is not counted, or undefined.
function excluded(name, test, alg) {
  const reason = exclusions[`wycheproof/${name}`]?.[test.tcId];
  if (reason) return reason;
  if (test.result !== 'valid') return undefined;
  if (test.jwe) return 'encrypted tokens are not supported; refused';
  if (!SUPPORTED[alg]) return 'symmetric algorithms are never accepted; refused';
  return undefined;
}

// Why an example is no token that could be accepted, as in the library's part.
function beyond(file, compact, key) {
  const [, payload] = compact.split('.');
  if (compact.split('.').length !== 3) return 'encrypted tokens are not supported; refused';
  if (payload === '' || file.includes('b64_false') || file.includes('4_5')) return 'detached and unencoded payloads are no tokens; refused';
  if (key.kty === 'oct') return 'symmetric algorithms are never accepted; refused';
  if (key.crv === 'P-521') return 'P-521 is not supported; refused';
  return undefined;
}

async function examples(suite, count) {
  const exclude = (of, reason) => {
    of.cases += 1;
    of.excluded[reason] = (of.excluded[reason] ?? 0) + 1;
  };
  const [asItIs, withClaims] = ['as it is', 'with claims'].map((how) => suite(`JOSE cookbook, proxy, ${how}`));
  for (const { file, example, key, id } of cookbook) {
    const compact = example.output?.compact;
    if (!compact) {
      exclude(asItIs, 'has no compact form');
      exclude(withClaims, 'has no compact form');
      continue;
    }
    // The payloads are prose and not claims: as it is, no example is an access token.
    const bare = await ask(proxyPort, `/${id}`, compact);
    count(asItIs, refused(id, bare), `${file}: got ${bare}`);
    const [head, , signature] = compact.split('.');
    const forged = await ask(proxyPort, `/${id}`, `${head}.${b64(claims(id))}.${signature}`);
    const reason = beyond(file, compact, key);
    if (reason) {
      if (refused(id, forged)) exclude(withClaims, reason);
      else count(withClaims, false, `${file}: its header and signature around claims got ${forged}`);
      continue;
    }
    count(withClaims, refused(id, forged), `${file}: its header and signature around claims got ${forged}`);
    const good = await ask(proxyPort, `/${id}`, signed(header(compact), claims(id), key));
    count(withClaims, good === 200, `${file}: its header over claims, signed with its key, got ${good}`);
  }
}

async function main() {
  await ready();
  const suites = new Map();
  const suite = (name) => {
    if (!suites.has(name)) suites.set(name, { suite: name, cases: 0, passed: 0, excluded: {}, failures: [] });
    return suites.get(name);
  };
  const count = (of, good, told) => {
    of.cases += 1;
    if (good) of.passed += 1;
    else of.failures.push(told);
  };
  for (const { name, group, privates, id } of groups) {
    for (const test of group.tests) {
      const given = test.jws ?? test.jwe;
      const token = typeof given === 'string' ? given : JSON.stringify(given); // the JSON serialisation is no token
      const told = (what, status) => `${name} ${test.tcId} ${test.comment}: ${what} got ${status}`;
      // As it is, no vector is an access token of ours: it says neither who issued it nor for whom.
      const bare = await ask(proxyPort, `/${id}`, token);
      count(suite(`wycheproof ${name}, proxy, as it is`), refused(id, bare), told('the vector itself', bare));
      const [head, , signature] = token.split('.');
      const of = suite(`wycheproof ${name}, proxy, with claims`);
      const said = header(token);
      const reason = excluded(name, test, said?.alg);
      if (test.result === 'valid' && !reason) {
        const key = privates.find((one) => one.kid === said.kid) ?? privates[0];
        const status = await ask(proxyPort, `/${id}`, signed(said, claims(id), key));
        count(of, status === 200, told('its header over claims, signed with its key,', status));
      } else if (reason) {
        of.cases += 1;
        of.excluded[reason] = (of.excluded[reason] ?? 0) + 1;
      } else {
        // Its header and its signature around claims that would be good.
        const status = await ask(proxyPort, `/${id}`, `${head}.${b64(claims(id))}.${signature ?? ''}`);
        count(of, refused(id, status), told('its header and signature around claims', status));
      }
    }
  }
  await examples(suite, count);
  for (const found of suites.values()) console.log(JSON.stringify(found));
  const passes = [...suites.values()].filter(({ suite: name }) => name.endsWith('with claims'));
  const wanted = passes.reduce((sum, one) => sum + one.passed, 0);
  if (reached === 0 || reached > wanted + 200) throw new Error(`the application was reached ${reached} times`);
}

try {
  await main();
} catch (fault) {
  console.log(JSON.stringify({ suite: 'through the proxy', cases: 1, passed: 0, excluded: {}, failures: [String(fault)] }));
} finally {
  programs.forEach((program) => program.kill('SIGTERM'));
  keyServer.close();
  application.close();
  keyServer.closeAllConnections();
  application.closeAllConnections();
}
