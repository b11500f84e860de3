"""What the answers of a server that fine-tunes mean: whether asking again helps, when, and what to do about a refusal.

>>> hint("training_closed", 403, "Fine-tuning is not available to your organization.").split(":")[0]
'OpenAI closes fine-tuning'
>>> hint("insufficient_quota", 429, "You exceeded your current quota.")
'add credit or raise the limit of the organisation or project, then start again'
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from trainerlib.openai_servers import KEY, waiting_time

if TYPE_CHECKING:
    from openai import APIError

_WAIT_AT_MOST = 3600.0
_NOT_YET = re.compile(r"still being processed|not (?:yet )?(?:ready|processed)", re.IGNORECASE)


def hint(code: str, status: int, words: str, *, official: bool = True) -> str:
    """What to do about a job that was refused or failed.

    Args:
        code: the provider's code.
        status: HTTP status of the refusal; 0 for a job that failed later.
        words: the provider's words.
        official: the provider is OpenAI.

    >>> hint("invalid_training_file", 0, "The job failed due to an invalid training file.")
    'look at the file with: trainerlib dataset check'
    """
    said = f"{code} {words}".lower()
    if "quota" in said or "billing" in said or "hard limit" in said:
        return "add credit or raise the limit of the organisation or project, then start again"
    if "api key" in said or "api_key" in said or status == 401:
        return f"put a valid {KEY} into .env, then start again"
    if "policy" in said or "policies" in said or "moderation" in said or "safety" in said:
        return "leave out what the provider forbids, build the dataset again, and start a new job"
    if status == 403 or ("fine-tun" in said and ("not available" in said or "access" in said)):
        closed = "OpenAI closes fine-tuning: new organisations are refused, everyone from 2027-01-06; " * official
        return (
            f"{closed}set [openai] base_url to a provider that does it for you, or use --trainer local, "
            "or --trainer bundle to train elsewhere"
        )
    if "file" in said or "example" in said or "jsonl" in said:
        return "look at the file with: trainerlib dataset check"
    if "model" in said:
        return "name a model that the provider fine-tunes"
    return "start again once that is put right"


def retry_after(error: APIError) -> float:
    """Seconds that a server asks to wait, 0 when it does not; an hour at most."""
    response = getattr(error, "response", None)
    told = waiting_time(response.headers) if response is not None else None
    return min(told or 0.0, _WAIT_AT_MOST)


def passes(error: APIError) -> bool:
    """Whether the same request may be answered later: no network, a busy or broken server, a file not ready yet."""
    from openai import APIStatusError

    if not isinstance(error, APIStatusError):
        return True
    said = f"{error.code or ''} {error.type or ''}".lower()
    if error.status_code == 429:
        return "quota" not in said and "billing" not in said
    if error.status_code == 400 and _NOT_YET.search(error.message):
        return True
    return error.status_code in (408, 409, 425) or not 400 <= error.status_code < 500


def never_sent(error: APIError) -> bool:
    """Whether not even a connection was there that the request could have gone over."""
    from openai import APIConnectionError

    return isinstance(error, APIConnectionError) and type(error.__cause__).__name__ in (
        "ConnectError",
        "ConnectTimeout",
    )


def id_of(answer: object) -> str | None:
    """The id in an answer; `None` for an answer that is none."""
    told = getattr(answer, "id", None)
    return told if isinstance(told, str) and told else None


def refuse_other_than_json(response: Any) -> None:
    """An answer that is no JSON object, such as the page of a portal, is no answer."""
    from openai import APIConnectionError

    if response.is_success:
        try:
            answer = json.loads(response.read())
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "json" not in response.headers.get("content-type", ""):
            raise APIConnectionError(message="the answer is not a JSON object", request=response.request)
