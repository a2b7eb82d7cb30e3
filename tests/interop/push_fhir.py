"""Reads with cumulus-fhir-support and pushes with fhirpy. Prints what they understood. Runs apart from pytest.

Arguments: the base of the server, a key, a client id and a file with its key set, a photo in base64.
"""

import asyncio
import json
import sys
from pathlib import Path

import cumulus_fhir_support as cumulus  # type: ignore[import-not-found]
from fhirpy import AsyncFHIRClient  # type: ignore[import-not-found]

base, key, client_id, key_set, photo = sys.argv[1:]
MESSAGE = {
    "status": "completed",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "fhirpy-1"}],
    "sender": {"reference": "Patient/7"},
    "payload": [{"contentAttachment": {"contentType": "image/jpeg", "data": photo}}],
}


async def main() -> None:
    client = AsyncFHIRClient(base, authorization=f"Bearer {key}")
    statement = await client.execute("metadata", method="get")
    print(statement["fhirVersion"])
    ids = []
    for _ in range(2):
        message = client.resource("Communication", **MESSAGE)
        await message.save()
        ids.append(message["id"])
    print(ids[0] == ids[1])
    updated = client.resource("Communication", id=ids[0], **MESSAGE)
    await updated.save()
    print(updated["meta"]["versionId"])

    jwks = json.loads(Path(key_set).read_text(encoding="utf-8"))
    async with cumulus.FhirClient(base, ["Communication"], smart_client_id=client_id, smart_jwks=jwks) as smart:
        found = (await smart.request("GET", f"Communication/{ids[0]}")).json()
        print(found["id"] == ids[0], found["meta"]["tag"][0]["code"])


asyncio.run(main())
