// A receiver of webhooks that verifies them with the library of Standard Webhooks for JavaScript.
// Arguments: secrets. Prints its port, then one line of JSON for each request.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const secrets = process.argv.slice(2);

function verify(secret, body, headers) {
  try {
    return new Webhook(secret).verify(body, headers).type;
  } catch (error) {
    return error.name;
  }
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts).toString("utf8");
  console.log(JSON.stringify(secrets.map((secret) => verify(secret, body, request.headers))));
  response.writeHead(204).end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
