// Pushes messages with two FHIR clients of others, and prints what they understood, as JSON. Runs under Node.
//
// Arguments: the base of the server, a key, a photo in base64.

import { Client } from "fhir-kit-client";
import { MedplumClient } from "@medplum/core";

const [base, key, data] = process.argv.slice(2);
const authorization = { Authorization: `Bearer ${key}` };

function message(value, fields = {}) {
  return {
    resourceType: "Communication",
    status: "completed",
    identifier: [{ system: "urn:oid:1.2.3", value }],
    sender: { reference: "Patient/7" },
    payload: [{ contentAttachment: { contentType: "image/jpeg", data } }],
    ...fields,
  };
}

const transaction = {
  resourceType: "Bundle",
  type: "transaction",
  entry: [
    {
      fullUrl: "urn:uuid:1",
      resource: { resourceType: "Binary", contentType: "image/jpeg", data },
      request: { method: "POST", url: "Binary" },
    },
    {
      resource: message("kit-2", { payload: [{ contentReference: { reference: "urn:uuid:1" } }] }),
      request: { method: "POST", url: "Communication" },
    },
  ],
};

async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return error;
  }
}

const kit = new Client({ baseUrl: base, customHeaders: authorization });
const smart = await kit.smartAuthMetadata();
const capabilities = await kit.capabilityStatement();
const options = { headers: { "If-None-Exist": "identifier=urn:oid:1.2.3|kit-1" } };
const created = await kit.create({ resourceType: "Communication", body: message("kit-1"), options });
const again = await kit.create({ resourceType: "Communication", body: message("kit-1"), options });
const updated = await kit.update({
  resourceType: "Communication",
  id: created.id,
  body: message("kit-1", { id: created.id }),
  options: { headers: { "If-Match": `W/"${created.meta.versionId}"` } },
});
const read = await kit.read({ resourceType: "Communication", id: created.id });
const bundle = await kit.transaction({ body: transaction });
const unknown = await failure(kit.read({ resourceType: "Communication", id: "unknown" }));

const medplum = new MedplumClient({
  baseUrl: base.replace(/fhir$/, ""),
  fhirUrlPath: "fhir",
  defaultHeaders: authorization,
});
const condition = "identifier=urn:oid:1.2.3|medplum-1";
const first = await medplum.createResourceIfNoneExist(message("medplum-1"), condition);
const second = await medplum.createResourceIfNoneExist(message("medplum-1"), condition);
const put = await medplum.updateResource(message("medplum-1", { id: first.id }));
const batch = await medplum.executeBatch(transaction);
const refused = await failure(medplum.createResource({ resourceType: "Communication", status: 1 }));

console.log(
  JSON.stringify({
    kit: {
      token: String(smart.tokenUrl ?? ""),
      fhirVersion: capabilities.fhirVersion,
      isSame: created.id === again.id && created.id === updated.id && created.id === read.id,
      statuses: bundle.entry.map((entry) => entry.response.status),
      unknown: [unknown.response.status, unknown.response.data.resourceType],
    },
    medplum: {
      isSame: first.id === second.id && first.id === put.id,
      statuses: batch.entry.map((entry) => entry.response.status),
      refused: [refused.outcome.resourceType, refused.outcome.issue[0].details.coding[0].code],
    },
  }),
);
