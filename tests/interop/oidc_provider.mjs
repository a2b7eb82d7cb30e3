// An OpenID-certified authorization server. Prints its port; issues JWTs by client_credentials with a client secret.
import { createServer } from 'node:http';
import crypto from 'node:crypto';
import Provider from 'oidc-provider';

const [audience, scope, secret] = process.argv.slice(2);
const key = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id: 'portal', client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      id_token_signed_response_alg: 'ES256', scope,
    }],
    scopes: scope.split(' '),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo: () => ({
          scope, audience, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    jwks: { keys: [{ ...key, use: 'sig', alg: 'ES256', kid: 'k1' }] },
  });
  server.on('request', provider.callback());
  console.log(port);
});
