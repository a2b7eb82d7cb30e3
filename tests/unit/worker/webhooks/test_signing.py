import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from worker.webhooks.signing import signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
EVENT, TIME, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'


def test_signature_equals_the_published_example() -> None:
    """Of the reference implementation of Standard Webhooks."""
    headers = signature_headers([SECRET], event_id=EVENT, timestamp=TIME, body=BODY)

    assert headers == {
        "webhook-id": EVENT,
        "webhook-timestamp": str(TIME),
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_both_secrets_verify_while_they_are_rotated(secret: str) -> None:
    headers = signature_headers([OTHER, SECRET], event_id=EVENT, timestamp=int(time.time()), body=BODY)

    assert Webhook(secret).verify(BODY, headers) == {"test": 2432232314}


def test_signature_is_refused_when_the_body_or_the_secret_differs() -> None:
    headers = signature_headers([SECRET], event_id=EVENT, timestamp=int(time.time()), body=BODY)

    for secret, body in ((OTHER, BODY), (SECRET, BODY + b" ")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_prefix_of_the_secret_may_be_missing() -> None:
    with_prefix, without = (
        signature_headers([each], event_id=EVENT, timestamp=TIME, body=BODY)
        for each in (SECRET, SECRET.removeprefix("whsec_"))
    )
    assert with_prefix == without
