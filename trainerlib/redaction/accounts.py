"""Where money is: bank accounts and payment cards, told from other numbers by their check digits."""

from __future__ import annotations

import re

from trainerlib.redaction.finding import DASH, SPACE, Finder, Place, digits_of, pattern, replacing

_IBAN_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18
    FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
    LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
    SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
    """
"""Characters of an IBAN by country, from the SWIFT IBAN registry."""


def _iban_expression() -> str:
    by_length: dict[int, list[str]] = {}
    for entry in _IBAN_LENGTHS.split():
        by_length.setdefault(int(entry[2:]), []).append(entry[:2])
    shapes = (
        rf"(?i:{'|'.join(countries)})[0-9]{{2}}(?:[{SPACE}-]?[A-Za-z0-9]){{{length - 4}}}"
        for length, countries in sorted(by_length.items())
    )
    return rf"(?:(?<![A-Za-z0-9])|(?<=(?i:iban)))(?:{'|'.join(shapes)})(?![A-Za-z0-9])"


_CHECKED = "[0-9](?<=[A-Za-z][A-Za-z][0-9])[0-9]"
"""The check digits of an IBAN, which two letters go before."""


def _iban(match: re.Match[str], place: Place) -> str:
    account = "".join(char for char in match[0] if char.isalnum()).upper()
    # ISO 13616: the first four characters go to the end, letters count from 10, the remainder by 97 is 1.
    number = int("".join(str(int(char, 36)) for char in account[4:] + account[:4]))
    return place(account) if number % 97 == 1 else match[0]


_GROUPS = rf"(?<![\w.])(?:(?<!/)|(?<=[0-9]/))[0-9]++(?>(?:[{SPACE}{DASH}][0-9]++)*)"
_GROUP = "[0-9]++"
_CARD_LENGTHS = {
    "34 37": (15,),  # American Express
    "300 301 302 303 304 305 36 38 39": (14, 16),  # Diners
    "51 52 53 54 55 222 223 224 225 226 227 228 229 23 24 25 26 270 271 2720": (16,),  # Mastercard
    "8600 9860": (16,),  # Uzcard, Humo
    "2200 2201 2202 2203 2204": (16, 17, 18, 19),  # Mir
    "4": (13, 16, 19),  # Visa
    "3528 3529 353 354 355 356 357 358": (16, 17, 18, 19),  # JCB
    "6": (16, 17, 18, 19),  # UnionPay, Discover, Maestro
    "50 56 57 58": (13, 14, 15, 16, 17, 18, 19),  # Maestro
}
"""Digits of a card by how its number begins (ISO/IEC 7812 issuer identification)."""
_BY_START = {start: lengths for starts, lengths in _CARD_LENGTHS.items() for start in starts.split()}


def _cards(match: re.Match[str], place: Place) -> str:
    """The cards among groups of digits; what stands beside a card, such as its date, stays."""
    text = match[0]
    groups = [group.span() for group in pattern(_GROUP).finditer(text)]
    if match.string[match.end() : match.end() + 1].isalpha():
        groups.pop()
    parts, done, first = [], 0, 0
    while first < len(groups):
        last = _card_end(text, groups, first)
        if last is None:
            first += 1
            continue
        start, end = groups[first][0], groups[last][1]
        parts += [text[done:start], place(digits_of(text[start:end]))]
        done, first = end, last + 1
    return "".join([*parts, text[done:]])


def _card_end(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Index of the last group of the longest card that begins with a group, if one does."""
    if groups[first][1] - groups[first][0] < 4:
        return None
    number, found = "", None
    for last in range(first, min(first + 6, len(groups))):
        number += text[slice(*groups[last])]
        if len(number) > 19:
            break
        lengths = next((_BY_START[number[:size]] for size in (4, 3, 2, 1) if number[:size] in _BY_START), ())
        if len(number) in lengths and _luhn(number):
            found = last
    return found


def _luhn(number: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, all digits summed, a multiple of 10."""
    doubled = sum(int(digit) * 2 - 9 * (digit > "4") for digit in number[-2::-2])
    return (doubled + sum(map(int, number[-1::-2]))) % 10 == 0


def finders() -> tuple[Finder, ...]:
    """IBANs before cards, which some hold."""
    return (
        Finder("iban", pattern(_CHECKED).search, replacing(_iban_expression(), _iban, found_by=_CHECKED, back=2)),
        Finder(
            "card",
            pattern(rf"[0-9](?<![0-9][0-9])(?:[{SPACE}{DASH}]?[0-9]){{12}}").search,
            replacing(_GROUPS, _cards, found_by=r"[0-9](?<!\w.)"),
        ),
    )
