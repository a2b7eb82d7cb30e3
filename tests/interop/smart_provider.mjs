// An OpenID-certified authorization server for SMART Backend Services: tokens for assertions signed by a registered key.
// Arguments: the client's public key as JWK, the scopes, the audience of the tokens. Prints its port.
import crypto from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [jwk, scope, audience] = process.argv.slice(2);
const key = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id: "triage", token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "ES384",
      grant_types: ["client_credentials"], redirect_uris: [], response_types: [], id_token_signed_response_alg: "ES256",
      scope, jwks: { keys: [JSON.parse(jwk)] },
    }],
    scopes: scope.split(" "),
    clientAuthMethods: ["private_key_jwt"],
    enabledJWA: { clientAuthSigningAlgValues: ["RS384", "ES384"] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo: () => ({
          scope, audience, accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
    jwks: { keys: [{ ...key, use: "sig", alg: "ES256", kid: "k1" }] },
  });
  server.on("request", provider.callback());
  console.log(port);
});
