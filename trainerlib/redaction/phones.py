"""Phone numbers, told from orders, prices and dates by their form and by the words around them."""

from __future__ import annotations

import re

from trainerlib.redaction.finding import DASH, GAP, Finder, Place, before, digits_of, pattern, replacing

_BEGINNING = rf"""
    (?<![\w+#№$€£₽])(?<!\w[{DASH}])(?:(?<![.])|(?<=[^\W\d_][.]))
    (?:(?<!/)(?<![0-9][,:])|(?<=[0-9]{{7}}[/,:])|(?<=[0-9]{{2}}[- ][0-9]{{2}}[/,:])|(?<=[- ][0-9]{{4}}[/,:]))
    """
_END = rf"(?!\w|[*]|[{DASH}][0-9])"

_PHONE = rf"""
      (?<![\w+])(?P<plus>\+[1-9](?:(?:[.]|{GAP})[0-9]){{7,14}})(?![0-9])
    | (?<=wa[.]me/)(?P<link>[1-9][0-9]{{7,14}})(?![0-9])
    | {_BEGINNING}
      (?:
          (?P<trunk>[78](?:[.]|{GAP})[34789][0-9]{{2}}(?:(?:[.](?=[0-9]{{2}})|{GAP})[0-9]){{7}})  # 8 916 123-45-67
        | (?P<us>(?:1[ .-]?)?(?:\([2-9][0-9]{{2}}\)[ -]?|[2-9][0-9]{{2}}([.-]))[2-9][0-9]{{2}}(?(5)\5|[ .-]?)[0-9]{{4}})
        | (?P<area>\([3-9][0-9]{{2,4}}\)[ ]?[0-9]{{1,3}}[ -]?[0-9]{{2}}[ -]?[0-9]{{2}})  # (4852) 12-34-56
        | (?P<city>[3489][0-9]{{2}}[ -][0-9]{{3}}-[0-9]{{2}}-[0-9]{{2}})
        | (?P<abroad>(?<![0-9>][ ])00[ -]?[1-9][0-9]{{0,2}}[ -][0-9](?:{GAP}[0-9]){{6,11}})
        | (?P<local>[1-9][0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}})
      )
      {_END}
    """
_ASKED = rf"""
    {_BEGINNING}
    (?:(?P<long>[0-9](?:{GAP}[0-9]){{8,11}}) | [0-9]{{3}}-[0-9]{{4}} | [0-9]{{1,2}}-[0-9]{{2}}-[0-9]{{2}})
    {_END}
    """
_ASKING = r"""
    (?:
        \b(?:phone|telephone|tel|mobile|mob|cell|cellphone|whatsapp|viber|fax|sms|call|text|dial|ring|ph|line)\b
      | \b(?:my|his|her|its|their|contact)[ ](?:new[ ])?number\b
      | \b(?:reach|contact)(?:[ ](?:me|us|him|her|them))?[ ](?:at|on)\b
      | \bтел\b|телефон|\bмоб|сотов|звон|набер|набир|вотсап|ватсап|вайбер|факс|\bсмс|мой[ ](?:новый[ ])?номер|для[ ]связи
    )
    (?P<between>[^0-9\n]{0,28})\Z
    """
_OTHER = (
    "заказ", "заявк", "трек", "отправлени", "накладн", "счет", "счёт", "чек", "инн", "огрн", "бик", "снилс", "паспорт",
    "полис", "договор", "артикул", "штрихкод", "посылк", "стои", "цен", "id", "isbn", "imei", "serial", "sku", "order",
    "invoice", "track", "parcel", "receipt", "ticket", "account", "contract", "bill", "price", "cost",
)  # fmt: skip
"""How a word begins that says what a number is when it is none of a phone."""
_MONEY = r"[ \u00a0]?(?:[$€£₽%]|(?i:руб|р[.]|тыс|млн|usd|eur|rub|dollars|euros))"
_DATE = r"(?:0?[1-9]|[12][0-9]|3[01])-(?:0[1-9]|1[0-2])-[0-9]{2}\Z"

_LENGTHS = {
    **dict.fromkeys(("45", "47"), 10),
    **dict.fromkeys(("1", "7", "33", "34", "36", "46", "48", "61", "370", "371", "372", "373", "374", "386"), 11),
    **dict.fromkeys(
        ("20", "30", "44", "82", "90", "91", "351", "358", "359", "375", "380", "381", "385", "420", "421"), 12
    ),
    **dict.fromkeys(("81", "971", "972", "992", "994", "995", "996", "998"), 12),
    "86": 13,
    "993": 11,
    "376": 9,
}
"""Most digits of a number by country code, the code with them (ITU-T E.164 numbering plans)."""


def _phone(match: re.Match[str], place: Place) -> str:
    kind = match.lastgroup or ""
    text, digits = match[0], digits_of(match[0])
    if kind == "plus":
        return _international(match, place)
    if kind == "link":
        return place(f"+{digits}")
    if _is_other(match) or (kind == "area" and len(digits) != 10) or (kind == "trunk" and text.count(".") == 1):
        return text
    if kind == "abroad":
        return place(f"+{digits[2:]}")
    if kind == "local":
        return place(digits)
    return place(f"+{'1' if kind == 'us' else '7'}{digits[-10:]}")


def _is_other(match: re.Match[str]) -> bool:
    """Tells from the word right before a number, or the money right after it, that it is none of a phone."""
    words = before(match, 40).rstrip(" \n\t.:#№-").split()
    if words and words[-1].rstrip(":") in ("номер", "number", "no", "n"):
        words.pop()
    named = bool(words) and words[-1].lstrip("(«\"'").startswith(_OTHER)
    return named or pattern(_MONEY).match(match.string, match.end()) is not None


def _international(match: re.Match[str], place: Place) -> str:
    text = match[0]
    if pattern(_MONEY).match(match.string, match.end()):
        return text
    # The 0 in +44 (0)20 is dialled at home only.
    home = "(0)" in text
    digits = digits_of(text.replace("(0)", "", 1))
    length = next((_LENGTHS[digits[:size]] for size in (1, 2, 3) if digits[:size] in _LENGTHS), len(digits))
    if len(digits) < 9 or (digits[0] in "17" and len(digits) < 11):
        return text
    ends = [at for at, char in enumerate(text, 1) if char.isdigit()]
    end = ends[length + home - 1] if len(digits) > length else len(text)
    if text[end : end + 1].isdigit():
        return place(f"+{digits}")
    # More digits than the country's numbers have, and a gap between: the rest is about something else.
    return place(f"+{digits[:length]}") + text[end:]


def _asked(match: re.Match[str], place: Place) -> str:
    """A number that is one of a phone only because the words before it ask for one."""
    asking = pattern(_ASKING).search(before(match, 48))
    if not asking or any(word.startswith(_OTHER) for word in asking["between"].split()) or _is_other(match):
        return match[0]
    digits = digits_of(match[0])
    if match["long"] is None:
        return match[0] if pattern(_DATE).match(match[0]) else place(digits)
    if digits[0] == "0":
        return place(digits)
    if len(digits) == 10:
        return place(f"+{'7' if digits[0] == '9' else '1'}{digits}")
    return place(f"+{digits}")


def finders() -> tuple[Finder, ...]:
    """What is a phone number by its form, then what the words around it make one."""
    possible = pattern(rf"[0-9](?:(?:[.]|{GAP})[0-9]){{4}}").search
    return (
        Finder("phone", possible, replacing(_PHONE, _phone, found_by=r"[0-9+(](?<!\w.)")),
        Finder("phone", possible, replacing(_ASKED, _asked, found_by=r"[0-9](?<!\w.)")),
    )
