"""Where people and machines are reached: e-mail and IP addresses, names on Telegram and Discord."""

from __future__ import annotations

import re

from trainerlib.redaction.finding import Finder, Place, before, pattern, replacing

_EMAIL = r"""
    (?<![\w.+%@-])(?P<local>\w[\w.+%'&-]{0,63}+)@
    (?P<domain>(?:[^\W_][\w-]{0,62}+[.]){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,24}))(?!\w)
    """
_FILE = r"[0-9]x[.](?:png|jpe?g|webp|gif|svg|avif|heic|pdf)\Z"


def _email(match: re.Match[str], place: Place) -> str:
    # git@ begins the address of a repository, and logo@2x.png is a file.
    if match["local"] == "git" or pattern(_FILE).match(match["domain"]):
        return match[0]
    return place(match[0].casefold())


_HANDLE = r"""
      <@!?(?P<discord>[0-9]{1,25})>
    | (?<![\w.@/-])(?:https?://)?(?:www[.])?(?:t|telegram)[.](?:me|dog)/(?:s/)?
      (?!(?:share|addstickers|addemoji|addtheme|addlist|proxy|socks|iv|setlanguage|login|invoice|bg)\b)
      (?:(?P<invite>\+[A-Za-z0-9_-]{5,40}+|joinchat/[A-Za-z0-9_-]{5,40}+|c/[0-9]{5,20}+)|(?P<link>[A-Za-z]\w{3,31}+))
    | \btg://(?:resolve\?domain|user\?id|join\?invite)=(?P<open>[A-Za-z0-9_-]{3,40}+)
    | (?<![\w@./+€$₽£`{-])(?<![0-9]>)@(?P<at>[^\W\d_](?>(?:\w|[.-](?=\w)){1,31})(?:@[\w-]{1,60}+(?>(?:[.][\w-]{1,60}+){1,4}))?)
      (?!\w|/[a-z]|\(|::|"\s?:)
    | (?<![\w./\#-])(?P<tag>[\w.]{2,32}+\#[0-9]{4})(?!\w)
    """
_NO_AT = r"(?:everyone|here|channel|all|media|import|charset|keyframes|supports|page|layer|container)\Z"
_DECORATED = r"""
    [ \t]{0,20}+\n\s{0,40}+
    (?:@|async[ ]|def[ ]|class[ ]|public|private|protected|static|export|function|fn[ ]|final|abstract|fun[ ]|void[ ])
    """
_DOC_TAG = r"(?:param|returns?|throws|type|typedef|deprecated|see|since|author|example|property|template)\Z"
_NO_TAG = r"""
    (?i:[\d.]++|issue|pr|bug|ticket|task|order|invoice|room|case|part|page|chapter|item|lot|no|route|release|build|version
    |задача|тикет|заказ|сч[её]т|кабинет|комната|квартира|офис|заявка|номер|пункт|глава|страница|часть|дом)\#
    """


def _handle(match: re.Match[str], place: Place) -> str:
    kind = match.lastgroup or ""
    name = match[kind]
    if kind in ("discord", "invite"):
        return place(f"{kind} {name}")
    if kind == "tag" and pattern(_NO_TAG).match(name):
        return match[0]
    if kind == "at" and (
        pattern(_NO_AT).match(name)
        or pattern(_DECORATED).match(match.string, match.end())
        or (before(match, 2) == "* " and pattern(_DOC_TAG).match(name))
    ):
        return match[0]
    return place(name.casefold())


_TAG = r"\#(?<=[\w.]\#)[0-9]{4}"


def _has_handle(text: str) -> object:
    return "@" in text or ".me/" in text or ".dog/" in text or "tg:" in text or pattern(_TAG).search(text)


_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?<![\w.])(?:{_BYTE}[.]){{3}}{_BYTE}(?!\w|[.][0-9])"
_IPV6 = r"(?<![\w:.])(?=[0-9A-Fa-f]{1,4}:)[0-9A-Fa-f:]{6,39}+(?!\w)"
_COLONS = ":[0-9A-Fa-f]{0,4}:"
_NO_IP = r"""
    (?<![^\W_])
    (?:
        (?:v(?:er(?:sion)?)?|release|build|firmware|updated?|upgraded?|верси\w{0,9}|релиз\w{0,9}|сборк\w{0,9}|прошивк\w{0,9}|обнов\w{0,9})
        (?:[ ]\w{1,20}){0,2}
      | section|clause|chapter|раздел\w{0,9}|пункт\w{0,9}|глав\w{0,9}|стать\w{0,9}|пп?|§
    )
    ["'=:_. ]{0,6}(?:from|to|is|до|с|на)?[ ]{0,2}(?:[0-9]{1,3}(?:[.][0-9]{1,3}){3}[^0-9\n]{1,14})?\Z
    """


def _ipv4(match: re.Match[str], place: Place) -> str:
    nobody = match[0].startswith("127.") or match[0] in ("0.0.0.0", "255.255.255.255")  # noqa: S104 - binds nothing
    return match[0] if nobody or pattern(_NO_IP).search(before(match, 60)) else place(match[0])


def _ipv6(match: re.Match[str], place: Place) -> str:
    address = match[0]
    if address.endswith(":") and not address.endswith("::"):
        address = address[:-1]
    return place(address.lower()) + match[0][len(address) :] if _is_ipv6(address) else match[0]


def _is_ipv6(address: str) -> bool:
    """RFC 4291, less what is as good a word (`dead::beef`) or slice (`a[1::2]`)."""
    head, short, tail = address.partition("::")
    groups = [*head.split(":"), *tail.split(":")] if tail else head.split(":")
    if "::" in tail or not all(1 <= len(group) <= 4 for group in groups):
        return False
    if not short:
        return len(groups) == 8
    return len(groups) <= 7 and len(groups[0]) > 2 and any(char.isdigit() for char in address)


def finders() -> tuple[Finder, ...]:
    """E-mail addresses before @names, which they hold."""
    return (
        Finder("email", lambda text: "@" in text, replacing(_EMAIL, _email)),
        Finder("handle", _has_handle, replacing(_HANDLE, _handle)),
        Finder("ip", lambda text: text.count(".") > 2, replacing(_IPV4, _ipv4, found_by=r"[0-9](?<!\w.)")),
        Finder(
            "ip",
            pattern(_COLONS).search,
            replacing(_IPV6, _ipv6, found_by="[0-9A-Fa-f](?=[0-9A-Fa-f]{0,3}:[0-9A-Fa-f]{0,4}:)"),
        ),
    )
