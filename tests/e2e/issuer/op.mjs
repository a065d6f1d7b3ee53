// A real OpenID provider for the tests: panva's oidc-provider on loopback.
// node op.mjs PORT AUDIENCE SECRET; writes "listening URL" when it listens. What it knows is in tests/rig/issuer.py.

import { generateKeyPairSync } from 'node:crypto';

import Provider from 'oidc-provider';

const [port, audience, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const signingKey = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  alg,
  use: 'sig',
  kid: `test-${alg}`,
});

const groupsOf = (account) => (['alice', 'erin'].includes(account) ? ['dba', 'staff'] : ['staff']);
const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], client_secret: secret };

const provider = new Provider(issuer, {
  jwks: {
    keys: [signingKey('rsa', { modulusLength: 2048 }, 'RS256'), signingKey('ec', { namedCurve: 'P-256' }, 'ES256')],
  },
  cookies: { keys: [secret] },
  clients: [
    { client_id: 'agent', ...machine },
    { client_id: 'short', ...machine },
    {
      client_id: 'cli',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'web',
      token_endpoint_auth_method: 'none',
      application_type: 'native', // any port of loopback
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: ['http://localhost/sign-in/callback'],
      post_logout_redirect_uris: ['http://localhost/signed-out'],
    },
  ],
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groupsOf(id) }) }),
  claims: { openid: ['sub'], groups: ['groups'] },
  scopes: ['openid', 'groups'],
  conformIdTokenClaims: false,
  extraTokenClaims: (_ctx, token) => ({ groups: token.accountId ? groupsOf(token.accountId) : ['agents'] }),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****' },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => `urn:${audience}`,
      useGrantedResource: () => true,
      // urn:NAME is the resource server whose tokens have the audience NAME
      getResourceServerInfo: (_ctx, resource, client) => ({
        scope: 'read',
        audience: resource.replace(/^urn:/, ''),
        accessTokenFormat: 'jwt',
        accessTokenTTL: client.clientId === 'short' ? 1 : 600,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

provider.listen(Number(port), '127.0.0.1', () => console.log(`listening ${issuer}`));
