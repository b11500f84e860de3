"""Webhooks of OpenAI: told apart from forgeries, and read for the job they are about and nothing else.

The signature is that of Standard Webhooks, checked by the `openai` package: over the id, the time (five minutes at
most from now) and the body.

>>> class Unset:
...     path, settings = tmp, None
...     def secret(self, name): return None
>>> remote_of(Unset(), b"{}", {})
Traceback (most recent call last):
trainerlib.errors.TrainingError: webhooks need the secret OPENAI_WEBHOOK_SECRET, in the environment or in .env
"""

from __future__ import annotations

from collections.abc import Mapping

from trainerlib.errors import TrainingError
from trainerlib.openai_servers import without_secrets
from trainerlib.trainers.port import Workshop

SECRET = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of one
"""What the secret that webhooks are signed with is called."""

_ABOUT_JOBS = "fine_tuning.job."


def remote_of(workshop: Workshop, body: bytes, headers: Mapping[str, str]) -> str | None:
    """OpenAI's id of the job that a message is about; `None` when it is about something else.

    Args:
        workshop: where the secret is.
        body: the message as it arrived.
        headers: its headers as they arrived, in any case.

    Raises:
        TrainingError: no secret is set, the signature is wrong, or the message is not of now.
    """
    secret = workshop.secret(SECRET)
    if not secret:
        raise TrainingError(f"webhooks need the secret {SECRET}, in the environment or in .env")
    try:
        from openai import InvalidWebhookSignatureError, OpenAI
    except ImportError as error:
        raise TrainingError("webhooks need the openai package: pip install 'trainerlib[openai]'") from error
    with OpenAI(api_key="unused", webhook_secret=secret) as client:
        try:
            message = client.webhooks.unwrap(body, {name.lower(): value for name, value in headers.items()})
        # A header that is missing or not ASCII, a body that is not JSON: whoever sent it is not OpenAI.
        except (InvalidWebhookSignatureError, ValueError, TypeError) as error:
            what = str(error) if isinstance(error, InvalidWebhookSignatureError) else "it does not read"
            raise TrainingError(f"the webhook is refused: {without_secrets(what, secret)}") from None
    about = getattr(message, "type", None)
    remote = getattr(getattr(message, "data", None), "id", None)
    if not isinstance(about, str) or not about.startswith(_ABOUT_JOBS) or not isinstance(remote, str):
        return None
    return remote or None
