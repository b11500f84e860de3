"""What opens doors: links with a password or token in them, keys, tokens, passwords and PINs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainerlib.redaction.finding import DASH, LONG_RUN, SPACE, Finder, Place, pattern, replacing

_SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}\Z"
_REST = r"""://[^\s<>"'`«»|\\^{}]{3,4000}+"""

_OPEN_URL = r"""
      \A[^:]++://[^/?#@:]{0,200}+:[^/?#@]{1,200}+@
    | [?&#;](?i:[\w-]{0,40}?(?:token|secret|passw(?:or)?d|api_?-?key|signature|credential)|auth|jwt|pwd|sig|sid|session)
      =(?!\$|(?i:your|xxx))[^&#]{4}
    | [?&#;](?i:access_?key|key|code|hash|pass)=(?=[^&#]{0,60}?[0-9])[^&#]{8}
    | \Ahttps://hooks[.]slack[.]com/services/. | \Ahttps://(?:\w++[.])?discord(?:app)?[.]com/api/webhooks/[0-9]
    """


def _replace_urls(text: str, place: Place) -> str:
    """Finds `://` first: nearly every word could begin a link."""
    parts, done, end = [], 0, 0
    for at in _occurrences(text, "://"):
        scheme = pattern(_SCHEME).search(text[max(done, at - 22) : at]) if at >= end else None
        rest = pattern(_REST).match(text, at) if scheme is not None else None
        if scheme is None or rest is None:
            continue
        end = rest.end()
        url = _without_tail(scheme[0] + rest[0])
        if pattern(_OPEN_URL).search(url):
            start = at - len(scheme[0])
            parts += [text[done:start], place(url)]
            done = start + len(url)
    return "".join([*parts, text[done:]])


def _occurrences(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _without_tail(url: str) -> str:
    """A link less the punctuation of the sentence around it."""
    brackets = url.count(")") - url.count("(")
    end = len(url)
    while end and (url[end - 1] in ".,;:!?…*_~]" or (url[end - 1] == ")" and brackets > 0)):
        brackets -= url[end - 1] == ")"
        end -= 1
    return url[:end]


_KEY_BLOCK = r"""
    -----BEGIN[ ](?:[A-Z0-9]{1,20}[ ]){0,3}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
    (?:
        (?>(?:[^-]|-(?!----))*)-----END[ ][A-Z0-9 ]{1,60}+-----
      | (?>(?:[\s\\nr]{0,8}+[A-Za-z0-9+/=]{16,}+)*)  # cut off before its end
    )
    """

_KNOWN_FORM = r"""
    (?<![A-Za-z0-9_-])
    (?=[A-Za-z_.-]{0,90}+[0-9] | [ghnw][A-Za-z]{1,5}_ | AKIA)
    (?:
        sk-(?:ant|or|proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,400}+ | sk-[A-Za-z0-9]{20,200}+  # OpenAI, Anthropic
      | A(?:KIA|SIA|BIA|CCA|GPA|IDA|ROA|NPA)[A-Z0-9]{16}  # AWS
      | gh[pousr]_[A-Za-z0-9]{30,255}+ | github_pat_[A-Za-z0-9_]{22,255}+ | glpat-[A-Za-z0-9_-]{20,100}+
      | xox[a-z]-[A-Za-z0-9-]{10,250}+ | xapp-[A-Za-z0-9-]{10,250}+  # Slack
      | AIza[A-Za-z0-9_-]{35} | ya29[.][A-Za-z0-9_-]{20,400}+ | GOCSPX-[A-Za-z0-9_-]{20,60}+  # Google
      | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,200}+ | whsec_[A-Za-z0-9+/=]{20,100}+  # Stripe
      | (?:hf|npm)_[A-Za-z0-9]{30,60}+ | pypi-[A-Za-z0-9_-]{50,300}+ | dop_v1_[a-f0-9]{64}
      | SG[.][A-Za-z0-9_-]{16,32}+[.][A-Za-z0-9_-]{16,64}+  # SendGrid
      | eyJ[A-Za-z0-9_-]{8,4000}+[.]eyJ[A-Za-z0-9_-]{8,8000}+(?:[.][A-Za-z0-9_-]{0,1500}+)?  # JWT
      | [MNO][A-Za-z0-9_-]{23,27}+[.][A-Za-z0-9_-]{6}[.][A-Za-z0-9_-]{27,45}+  # Discord
      | (?:bot)?[0-9]{6,12}+:[A-Za-z0-9_-]{34,36}+  # Telegram
    )
    (?![A-Za-z0-9])
    """

_RUN = "[0-9_K](?:(?<![0-9][0-9])[A-Za-z0-9_-]{10}|(?<=[A-Za-z0-9_-]{10}[0-9])|(?<=AK)IA)"
"""What every token holds, as `LONG_RUN`; an AWS key may have no digit."""

_CARD_DATE = "|".join(
    rf"(?<=[0-9]{{4}}{joint}[0-9]{{4}}[ ,;][01][0-9]/{century}[0-9]{{2}}[ ,;])"
    for joint in ("", "[ -]")
    for century in ("", "20")
)
_CVV = rf"(?:{_CARD_DATE})[0-9]{{3}}(?!\w|[.,][0-9])"
"""Three digits after a card and its date, which nobody labels."""

_LABELS = (
    "pass", "пасс", "pwd", "pw", "code word", "codeword", "парол", "кодов", "секретн", "pin", "пин", "cvv", "cvc", "key", "token",
    "secret", "bearer", "токен", "секрет", "ключ",
)  # fmt: skip
"""What `_LABELLED` may begin with, in lower case."""

_KEY = "|".join(
    f"(?<={owner}{joint})"
    for owner in ("api", "access", "secret", "private", "auth", "app", "client", "signing")
    for joint in ("", "[ _-]")
)
_LABELLED = rf"""
    (?i:
        (?P<password>(?:password|passcode|пароль)
            (?:['’]s|[ ](?:такой|теперь|now)|[ ](?:for|to|of|on|от|для|к|на|в)(?:[ ][\w.'-]{{1,30}}+){{1,3}}?)?)
      | (?P<word>passwd|passphrase|pwd|(?<![^\W_])(?:pass|pw|пасс)|code[ ]?word|кодов(?:ое[ ]слово|ая[ ]фраза)|секретное[ ]слово)
      | (?P<pin>(?<![^\W_])(?:pin(?:[ -]?code)?|cv[vc]2?(?:[ -]?code)?|пин(?:[ -]?код)?(?:[ ](?:от[ ])?[а-яё]{{1,20}}+)?))
      | (?:{_KEY})key | token | secret | bearer | токен | секрет
      | (?:(?<=(?:api|апи)[ -])|(?<=секретный[ ]))ключ | ключ[ ](?:api|апи|доступа)
    )
    (?![^\W_])(?:[ ](?:is|это)(?=:))?
    (?:
        (?P<sign>(?:["'`*]{{0,2}}+|["'`*]?[{SPACE}])(?:=>|:=|[:=>])[\s*]{{0,3}}+)
      | ["'`*]?[{SPACE}](?i:(?:is|это|[{DASH}])[{SPACE}])?(?=\S{{0,40}}?[0-9])
    )
    (?:(?P<quote>["'`«])(?P<quoted>[^"'`»\s]{{3,200}}+)["'`»] | (?P<bare>[^\s"'`«»,;<>(){{}}\[\]]{{3,300}}+))
    """

_ADVICE = r"""
    [*•.xX#_-]++\Z | [$%{<] | (?i:os[.]|env[.]|process[.]|your|example)
  | (?i:
        (?:my[_-])?(?:pass(?:word|wd)?|token|secret|api_?key|key|пароль|токен|секрет)
      | required|optional|missing|wrong|incorrect|invalid|expired|changed|reset|hidden|none|null|true|false|string|text
      | unknown|empty|unset|undefined|forgotten|protected|default|disabled|enabled
      | неверн\w{0,9}|неправильн\w{0,9}|обязател\w{0,9}|забы\w{0,9}|измен[её]н\w{0,9}|смен[её]н\w{0,9}|отсутствует|нужен|скрыт\w{0,9}|пуст\w{0,9}
      | сброшен\w{0,9}|устарел\w{0,9}|прежний|старый|новый|любой
    )\Z
    """
_LINE_END = r"[.!)]{0,3}+[ \t]{0,3}+(?:\n|\Z)"


def _whole(match: re.Match[str], place: Place) -> str:
    return place(match[0])


def _replace_labelled(text: str, place: Place) -> str:
    """Finds the words first, which is many times faster than looking for all of them at every character."""
    lower = _lower(text)
    labelled = pattern(_LABELLED)
    parts, done = [], 0
    for at in sorted({at for label in _LABELS for at in _occurrences(lower, label)}):
        match = labelled.match(text, at) if at >= done else None
        if match is None:
            continue
        group = "bare" if match["quoted"] is None else "quoted"
        value = match[group] if group == "quoted" else match[group].rstrip(".,:…?")
        if _is_secret(match, value):
            parts += [text[done : match.start(group)], place(value)]
            done = match.start(group) + len(value)
    return "".join([*parts, text[done:]])


def _lower(text: str) -> str:
    """A text in lower case, each character at its place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(char.lower()[0] for char in text)


def _is_secret(match: re.Match[str], value: str) -> bool:
    """Tells a password, PIN or key from what else may follow such a word: advice, a type, a piece of code."""
    sign = match["sign"] is not None
    # A call or an index is code.
    code = match["quoted"] is None and match.string[match.end() : match.end() + 1] in ("(", "[")
    if len(value) < 3 or code or "://" in value or pattern(_ADVICE).match(value):
        return False
    if match["pin"] is not None:
        return value.isascii() and value.isdigit() and len(value) <= 8
    digits = any(char.isdigit() for char in value)
    letters = any(char.isalpha() for char in value)
    if match["password"] is None and match["word"] is None:
        if sign:
            return letters and digits and len(value) >= 6
        return letters and len(value) >= 16 and pattern(LONG_RUN).search(value) is not None
    if not sign:
        enough = 5 if letters else 6
        return match["word"] is None and digits and len(value) >= enough and (letters or value.isdigit())
    if digits or not letters:
        return len(value) >= 4 and (letters or value.isdigit())
    if any(char in "!@#$%^&*+?~" for char in value):
        return True
    # A word alone is a password where nothing follows it.
    last = match["quoted"] is not None or pattern(_LINE_END).match(match.string, match.start("bare") + len(value))
    return bool(last) and value.isalpha() and len(value) >= 5


def _has_label(text: str) -> bool:
    lower = _lower(text)
    for label in _LABELS:  # noqa: SIM110 - half the time of any() over a generator
        if label in lower:
            return True
    return False


def finders() -> tuple[Finder, ...]:
    """Links first, as a password in one is a part of it; then what is known by its form, then what its label tells."""
    return (
        Finder("url", lambda text: "://" in text, _replace_urls),
        Finder("secret", lambda text: "-----BEGIN" in text, replacing(_KEY_BLOCK, _whole)),
        Finder("secret", pattern(_RUN).search, replacing(_KNOWN_FORM, _whole)),
        Finder("secret", pattern(r"/[0-9]{2,4}[ ,;][0-9]{3}(?!\w)").search, replacing(_CVV, _whole, found_by="[0-9]")),
        Finder("secret", _has_label, _replace_labelled),
    )
