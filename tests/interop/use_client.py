"""Uses the client that openapi-python-client generated: sends, waits, claims, acknowledges. Runs apart from pytest."""

import builtins
import sys
from io import BytesIO

from client.types import File, Unset  # type: ignore[import-not-found]

# openapi-python-client 0.29.1 does not import this name where a body has two media types
builtins.Unset = Unset  # type: ignore[attr-defined]

from client.api.decisions import override_message  # type: ignore[import-not-found]
from client.api.messages import read_message, submit_message  # type: ignore[import-not-found]
from client.api.retakes import acknowledge_retakes, claim_retakes  # type: ignore[import-not-found]
from client.client import AuthenticatedClient  # type: ignore[import-not-found]
from client.models import (  # type: ignore[import-not-found]
    HeldRequestDocument,
    OverrideCall,
    OverrideCallOutcome,
    PostedForm,
    PostedMessage,
    RequestsToClaim,
    SentRequests,
)

url, key = sys.argv[1:]
SOURCE, MESSAGE = "ehr", "m-generated"

with AuthenticatedClient(base_url=url, token=key) as client:
    for _ in range(2):
        photo = File(payload=BytesIO(b"no photo"), file_name="1.jpg", mime_type="image/jpeg")
        form = PostedForm(message=PostedMessage(source=SOURCE, message_id=MESSAGE), photo=[photo])
        print(submit_message.sync(client=client, body=form).created)
    decision = OverrideCall(
        source=SOURCE, message_id=MESSAGE, outcome=OverrideCallOutcome.RETAKE, reason="too dark", by="dr-1"
    )
    override_message.sync(client=client, body=decision)
    print(read_message.sync(SOURCE, MESSAGE, client=client, wait=20).outcome.value)
    [claimed] = claim_retakes.sync(client=client, body=RequestsToClaim(limit=1, source=SOURCE)).requests
    print(claimed.message_id)
    sent = SentRequests(requests=[HeldRequestDocument(id=claimed.id, token=claimed.token)])
    print(acknowledge_retakes.sync(client=client, body=sent).requests[0].status.value)
