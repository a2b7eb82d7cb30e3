// Reads FHIR resources as a JSON list, and prints what the package `fhir` finds wrong, as a JSON list. Runs under Node.

import { readFileSync } from "node:fs";
import { Fhir } from "fhir";

const fhir = new Fhir();
const found = JSON.parse(readFileSync(0, "utf8")).flatMap((resource) =>
  fhir
    .validate(resource, { errorOnUnexpected: true })
    .messages.filter((message) => ["error", "fatal"].includes(message.severity))
    .map((message) => `${resource.resourceType}: ${message.location} ${message.message}`),
);
console.log(JSON.stringify(found));
