// Tokens of partners' domains for tokens of our own: RFC 8693, RFC 7523 and RFC 7522, as custom grants of the provider.
// PARTNERS lists issuers whose signed tokens count; the one SAML partner is made here, with a key of its own.
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { DOMParser } from '@xmldom/xmldom';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';
import { SignedXml } from 'xml-crypto';

const GRANT = 'urn:ietf:params:oauth:grant-type';
const SAML = 'urn:oasis:names:tc:SAML:2.0:assertion';
export const SAML_ISSUER = 'https://idp.partner.example';
export const GRANTS = ['token-exchange', 'jwt-bearer', 'saml2-bearer'].map((name) => `${GRANT}:${name}`);

const get = async (url) => {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
};

// The signature by the partner's keys, the audience by our own issuer (RFC 7523 section 3), the times by jose.
async function verifiedJwt(token, { partners, issuer }) {
  const named = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString() || '{}').iss;
  if (!partners.includes(named)) throw new Error(`issuer ${named} is no partner`);
  const { jwks_uri: uri } = await get(`${named}/.well-known/openid-configuration`);
  const { payload } = await jwtVerify(token, createLocalJWKSet(await get(uri)), { issuer: named, audience: issuer });
  return payload.sub;
}

export function createSamlPartner() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' });
  return {
    // An assertion for tests; what is not given is as it should be.
    sign({ issuer = SAML_ISSUER, subject = 'ada', audience, seconds = 300, tamper }) {
      const at = (offset) => new Date(Date.now() + offset * 1000).toISOString();
      const id = `_${randomUUID()}`;
      const text = `<saml:Assertion xmlns:saml="${SAML}" ID="${id}" Version="2.0" IssueInstant="${at(0)}"><saml:Issuer>${issuer}</saml:Issuer>`
        + `<saml:Subject><saml:NameID>${subject}</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">`
        + `<saml:SubjectConfirmationData NotOnOrAfter="${at(seconds)}" Recipient="${audience}/token"/></saml:SubjectConfirmation></saml:Subject>`
        + `<saml:Conditions NotBefore="${at(-5)}" NotOnOrAfter="${at(seconds)}"><saml:AudienceRestriction><saml:Audience>${audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions></saml:Assertion>`;
      const signer = new SignedXml({
        privateKey: key, signatureAlgorithm: 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
        canonicalizationAlgorithm: 'http://www.w3.org/2001/10/xml-exc-c14n#',
      });
      signer.addReference({
        xpath: "//*[local-name(.)='Assertion']", digestAlgorithm: 'http://www.w3.org/2001/04/xmlenc#sha256',
        transforms: ['http://www.w3.org/2000/09/xmldsig#enveloped-signature', 'http://www.w3.org/2001/10/xml-exc-c14n#'],
      });
      signer.computeSignature(text, { location: { reference: "//*[local-name(.)='Issuer']", action: 'after' } });
      const signed = signer.getSignedXml();
      return Buffer.from(tamper ? signed.replace(...tamper) : signed).toString('base64url');
    },
    // Only what was signed is read (the reference's own bytes), never the document around it.
    verify(assertion, issuer) {
      const text = Buffer.from(assertion, 'base64url').toString();
      const document = new DOMParser().parseFromString(text, 'text/xml');
      const signature = document.documentElement.getElementsByTagNameNS('http://www.w3.org/2000/09/xmldsig#', 'Signature')[0];
      const checker = new SignedXml({ publicCert: publicKey });
      checker.loadSignature(signature);
      if (!checker.checkSignature(text)) throw new Error('the signature is wrong');
      const signed = new DOMParser().parseFromString(checker.getSignedReferences()[0], 'text/xml');
      const only = (name) => signed.getElementsByTagNameNS(SAML, name)[0];
      const soon = (name) => new Date(only(name).getAttribute('NotOnOrAfter')) > new Date();
      if (only('Issuer').textContent !== SAML_ISSUER) throw new Error('another issuer');
      if (only('Audience').textContent !== issuer) throw new Error('another audience');
      if (!soon('Conditions') || !soon('SubjectConfirmationData')) throw new Error('too old');
      return only('NameID').textContent;
    },
  };
}

async function subjectOf(params, settings) {
  try {
    if (params.grant_type.endsWith('saml2-bearer')) return settings.saml.verify(params.assertion ?? '', settings.issuer);
    return await verifiedJwt(params.subject_token ?? params.assertion ?? '', settings);
  } catch (error) {
    throw new errors.InvalidGrant(`the subject token does not count: ${error.message}`);
  }
}

// An access token of our own for the same person at the resource that is asked for.
async function issue(provider, ctx, subject, { getResourceServerInfo }) {
  const { params, client } = ctx.oidc;
  const resource = params.audience ?? params.resource;
  if (typeof resource !== 'string') throw new errors.InvalidTarget('one audience or resource is wanted');
  const token = new provider.AccessToken({ accountId: subject, client, gty: params.grant_type, scope: params.scope || undefined });
  token.resourceServer = new provider.ResourceServer(resource, getResourceServerInfo(ctx, resource));
  const value = await token.save();
  return {
    access_token: value, expires_in: token.expiration, token_type: token.tokenType, scope: token.scope || undefined,
    ...(params.grant_type.endsWith('token-exchange') && { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }),
  };
}

export function registerExchange(provider, settings) {
  const parameters = ['assertion', 'subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'resource', 'scope'];
  for (const grant of GRANTS) {
    provider.registerGrantType(grant, async (ctx) => {
      ctx.body = await issue(provider, ctx, await subjectOf(ctx.oidc.params, settings), settings);
    }, parameters);
  }
}
