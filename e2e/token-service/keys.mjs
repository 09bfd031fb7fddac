// The signing keys of the server, and signatures over anything: what a test signs with them need not make sense.
import { createHmac, createPublicKey, constants, generateKeyPair, sign } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);
const KINDS = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519', {}],
};
const SIGN = {
  ES256: (input, key) => sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' }),
  RS256: (input, key) => sign('sha256', input, key),
  PS256: (input, key) => sign('sha256', input, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  EdDSA: (input, key) => sign(null, input, key),
};

async function makeKey(alg, kid) {
  const { privateKey } = await generate(...KINDS[alg]);
  return { alg, kid, privateKey, published: true };
}

const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

// The newest key of an algorithm comes first: the provider signs with the first one that fits.
export async function createKeys() {
  const names = [['ES256', 'es-1'], ['RS256', 'rs-1'], ['PS256', 'ps-1'], ['EdDSA', 'ed-1']];
  const keys = await Promise.all(names.map(([alg, kid]) => makeKey(alg, kid)));
  let generation = 1;

  const find = ({ kid, alg = 'ES256' }) => {
    const key = keys.find((one) => (kid ? one.kid === kid : one.alg === alg && one.published));
    if (!key) throw new Error(`no key ${kid ? `with kid ${kid}` : `for alg ${alg}`}; there are ${keys.map((one) => one.kid)}`);
    return key;
  };

  const withHeader = (key, header) => {
    const merged = { alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header };
    return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  };

  return {
    jwks: () => ({
      keys: keys.filter((key) => key.published)
        .map(({ alg, kid, privateKey }) => ({ ...privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig' })),
    }),

    async rotate(removeOld) {
      generation += 1;
      const key = await makeKey('ES256', `es-${generation}`);
      if (removeOld) keys.filter((one) => one.alg === 'ES256').forEach((one) => { one.published = false; });
      keys.unshift(key);
      return key.kid;
    },

    // The header says what the caller wants (null removes a member), the signature is what the chosen key makes. Two
    // values of alg choose no key of ours: none (no signature) and HS256 (by default keyed with our own public RSA key).
    sign({ header = {}, claims = {}, kid, alg, secret }) {
      const keyless = alg === 'none' || alg === 'HS256';
      const key = keyless ? { alg } : find({ kid, alg });
      const input = Buffer.from(`${base64url(withHeader(key, header))}.${base64url(claims)}`);
      if (alg === 'none') return `${input}.`;
      const signature = keyless
        ? createHmac('sha256', secret ?? createPublicKey(find({ alg: 'RS256' }).privateKey).export({ type: 'spki', format: 'pem' })).update(input).digest()
        : SIGN[key.alg](input, key.privateKey);
      return `${input}.${signature.toString('base64url')}`;
    },
  };
}
