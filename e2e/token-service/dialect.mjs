// Introspection in the dialect of some vendors: asked for `application/jwt`, the answer is the bare access token in its
// signed form, and 204 without a body for a token that is not active. oidc-provider itself knows only RFC 9701.
import { createHash } from 'node:crypto';

export const isAsked = (req, path) => req.method === 'POST' && path === '/token/introspection'
  && (req.headers.accept ?? '').split(',').some((one) => one.split(';')[0].trim().toLowerCase() === 'application/jwt');

// `answer` is the provider's own, asked for as JSON with the caller's own credentials.
export function translate(answer, token, { keys, issuer }) {
  if (answer.status !== 200) return answer;
  const { active, ...claims } = JSON.parse(answer.body);
  if (!active) return { status: 204, headers: { 'cache-control': 'no-store' }, body: '' };
  const jwt = keys.sign({
    alg: 'ES256',
    claims: {
      iss: issuer,
      sub: claims.client_id,
      jti: createHash('sha256').update(token).digest('base64url').slice(0, 22),   // of an opaque token it is not told
      ...claims,
    },
  });
  return { status: 200, headers: { 'content-type': 'application/jwt', 'cache-control': 'no-store' }, body: jwt };
}
