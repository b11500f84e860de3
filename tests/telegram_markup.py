"""Formatted text as Telegram takes it: Markdown and HTML become text with entities, and what is wrong is refused.

Offsets and lengths of entities are counted in UTF-16 code units, places in refusals in bytes of UTF-8.
"""

from __future__ import annotations

import html
import re
from typing import Any

Json = dict[str, Any]

KINDS = frozenset([
    "mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bold", "italic", "underline",
    "strikethrough", "spoiler", "blockquote", "expandable_blockquote", "code", "pre", "text_link", "text_mention",
    "custom_emoji", "date_time"
])  # fmt: skip
"""Types of entities there are."""

MOST_ENTITIES = 100
"""Entities that a message has at most; those after them are not kept."""

_FOUND_BY_TELEGRAM = frozenset([
    "mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number"
])  # fmt: skip
_RESERVED = frozenset("_*[]()~`>#+-=|{}.!")
_MARKS = {
    "*": "bold",
    "_": "italic",
    "__": "underline",
    "~": "strikethrough",
    "||": "spoiler",
    "`": "code",
    "```": "pre",
}
_TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "code": "code", "pre": "pre",
    "a": "text_link", "span": "spoiler", "tg-spoiler": "spoiler", "tg-emoji": "custom_emoji", "blockquote": "blockquote",
}  # fmt: skip
_NAMES = {"pre": "Pre", "code": "Code", "bold": "Bold", "italic": "Italic", "underline": "Underline",
          "strikethrough": "Strikethrough", "spoiler": "Spoiler", "text_link": "TextUrl"}  # fmt: skip


class MarkupError(Exception):
    """A text that Telegram refuses; the message is what it says after `Bad Request: `."""


def units(text: str) -> int:
    """UTF-16 code units of a text."""
    return len(text.encode("utf-16-le")) // 2


def part(text: str, entity: Json) -> str:
    """The words that an entity covers."""
    data = text.encode("utf-16-le")
    return data[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le")


def formatted(text: str, mode: str | None, entities: list[Json] | None) -> tuple[str, list[Json]]:
    """What is shown of a text: parsed, checked, and without blanks at its end.

    A mode makes entities that are given void, as with Telegram.
    """
    if mode:
        parse = {"html": _from_html, "markdownv2": _from_markdown, "markdown": _from_old_markdown}.get(mode.lower())
        if parse is None:
            raise MarkupError("unsupported parse_mode")
        try:
            text, found = parse(text)
        except MarkupError as error:
            raise MarkupError(f"can't parse entities: {error}") from None
    else:
        found = _checked(text, entities or [])
    shown = text.rstrip()
    end = units(shown)
    kept = [one | {"length": min(one["length"], end - one["offset"])} for one in found if one["offset"] < end]
    kept.sort(key=lambda one: (one["offset"], -one["length"]))
    return shown, [one for one in kept if one["length"] > 0][:MOST_ENTITIES]


def detected(text: str) -> list[Json]:
    """Commands and mentions that a person's text has, as Telegram finds them."""
    found = []
    for match in re.finditer(r"(?<![\w/@<>])(?:/(\w{1,64}(?:@\w{3,32})?)|@\w{3,32})(?!\w)", text, re.ASCII):
        kind = "bot_command" if match[1] else "mention"
        found.append({"type": kind, "offset": units(text[: match.start()]), "length": units(match[0])})
    return found


def _checked(text: str, entities: list[Json]) -> list[Json]:
    size = units(text)
    # The first unit of a pair that stands for one character; nothing may begin or end after it.
    halves, at = set(), 0
    for character in text:
        at += 1
        if ord(character) > 0xFFFF:
            halves.add(at)
            at += 1
    kept = []
    for entity in entities:
        kind, offset, length = entity.get("type"), entity.get("offset"), entity.get("length")
        if kind not in KINDS:
            raise MarkupError(f"can't parse MessageEntity: Unsupported type specified: {kind}")
        if not isinstance(offset, int) or not 0 <= offset <= 1_000_000:
            raise MarkupError(f"receive an entity with incorrect offset {offset}")
        if not isinstance(length, int) or not 0 <= length <= 1_000_000:
            raise MarkupError(f"receive an entity with incorrect length {length}")
        if length == 0:
            continue
        if offset > size:
            raise MarkupError(f"entity begins after the end of the text at UTF-16 offset {offset}")
        if offset + length > size:
            end = f"ends after the end of the text at UTF-16 offset {offset + length}"
            raise MarkupError(f"entity beginning at UTF-16 offset {offset} {end}")
        if offset in halves:
            raise MarkupError(f"entity begins in a middle of a UTF-16 symbol at byte offset {_bytes(text, offset)}")
        if offset + length in halves:
            place = f"byte offset {_bytes(text, offset + length)}"
            raise MarkupError(
                f"entity beginning at UTF-16 offset {offset} ends in a middle of a UTF-16 symbol at {place}"
            )
        if kind == "text_link" and not re.match(
            r"(https?://)?[\w-]+(\.[\w-]+)+|tg://|https?://\w", entity.get("url", "")
        ):
            raise MarkupError(f"entity URL '{entity.get('url', '')}' is invalid: Wrong HTTP URL")
        if kind not in _FOUND_BY_TELEGRAM:
            kept.append({name: value for name, value in entity.items() if value is not None})
    return kept


def _bytes(text: str, offset: int) -> int:
    """The byte after the character in whose middle an offset is."""
    at = 0
    for number, character in enumerate(text):
        at += 2 if ord(character) > 0xFFFF else 1
        if at > offset:
            return len(text[: number + 1].encode())
    return len(text.encode())


def _from_html(text: str) -> tuple[str, list[Json]]:
    shown, entities, place = "", [], 0
    opened: list[tuple[str, int, Json]] = []
    for match in re.finditer(r"<(/?)([^\s<>/]*)([^<>]*)(>?)", text):
        at = f"at byte offset {len(text[: match.start()].encode())}"
        shown += html.unescape(text[place : match.start()])
        place = match.end()
        name = match[2].lower()
        known = name in _TAGS and (name != "span" or "tg-spoiler" in match[3])
        if not match[1] and not known and (match[3] or match[4]):
            raise MarkupError(f'Unsupported start tag "{name}" {at}')
        if not match[4]:
            raise MarkupError(f"Unclosed {'end' if match[1] else 'start'} tag {at}")
        if not match[1]:
            opened.append((name, units(shown), _of_tag(name, match[3])))
            continue
        if not opened:
            raise MarkupError(f"Unexpected end tag {at}")
        tag, offset, more = opened.pop()
        if name not in ("", tag):
            raise MarkupError(f'Unmatched end tag {at}, expected "</{tag}>", found "</{name}>"')
        entity = {"type": _TAGS[tag], "offset": offset, "length": units(shown) - offset} | more
        if tag == "a" and not entity.get("url"):
            entity["url"] = part(shown, entity)
        entities.append(entity)
    if opened:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return shown + html.unescape(text[place:]), entities


def _of_tag(name: str, words: str) -> Json:
    """What the attributes of a tag say of its entity."""
    values = {key: html.unescape(value) for key, value in re.findall(r"""([\w-]+)\s*=\s*["']?([^"'>]*)""", words)}
    if name == "a":
        return {"url": values.get("href", "")}
    if name == "tg-emoji":
        return {"custom_emoji_id": values.get("emoji-id", "")}
    if name == "blockquote" and "expandable" in words:
        return {"type": "expandable_blockquote"}
    return {}


def _from_markdown(text: str) -> tuple[str, list[Json]]:
    """`MarkdownV2`."""
    shown, entities, at = "", [], 0
    opened: list[tuple[str, int, int, Json]] = []  # mark, offset in what is shown, place in the text, more
    quote: int | None = None
    while at < len(text):
        character = text[at]
        if quote is not None and text[at - 1] == "\n" and character != ">":
            entities.append({"type": "blockquote", "offset": quote, "length": units(shown.rstrip("\n")) - quote})
            quote = None
        if character == "\\" and at + 1 < len(text) and 0 < ord(text[at + 1]) < 127:
            shown += text[at + 1]
            at += 2
            continue
        inside = opened[-1][0] if opened else ""
        mark = next((mark for mark in ("```", "__", "||", "*", "_", "~", "`") if text.startswith(mark, at)), "")
        if inside in ("`", "```") and mark != inside:
            if character == "`":
                raise MarkupError(f"Can't find end of Code entity at byte offset {len(text[:at].encode())}")
            shown += character
            at += 1
        elif mark and mark == inside:
            _, offset, _, more = opened.pop()
            entities.append({"type": _MARKS[mark], "offset": offset, "length": units(shown) - offset} | more)
            at += len(mark)
        elif mark:
            language = re.match(r"```([^\s`]+)(?=\s)\n?", text[at:]) if mark == "```" else None
            more = {"language": language[1]} if language else {}
            opened.append((mark, units(shown), at, more))
            at += language.end() if language else len(mark)
            if mark == "```" and not language and text.startswith("\n", at):
                at += 1
        elif character == "[":
            opened.append(("[", units(shown), at, {}))
            at += 1
        elif character == "]" and inside == "[":
            _, offset, _, _ = opened.pop()
            link = re.match(r"\]\(((?:\\.|[^)\\])*)(\)?)", text[at:], re.DOTALL)
            if link and not link[2]:
                raise MarkupError(f"Can't find end of a URL at byte offset {len(text[: at + 1].encode())}")
            url = re.sub(r"\\(.)", r"\1", link[1]) if link else ""
            if url:
                entities.append({"type": "text_link", "offset": offset, "length": units(shown) - offset, "url": url})
            at += link.end() if link else 1
        elif character == ">" and (at == 0 or text[at - 1] == "\n"):
            quote = units(shown) if quote is None else quote
            at += 1
        elif character in _RESERVED:
            raise MarkupError(f"Character '{character}' is reserved and must be escaped with the preceding '\\'")
        else:
            shown += character
            at += 1
    if opened:
        mark, _, place, more = opened[-1]
        name = "TextUrl" if mark == "[" else "PreCode" if more else _NAMES[_MARKS[mark]]
        raise MarkupError(f"Can't find end of {name} entity at byte offset {len(text[:place].encode())}")
    if quote is not None:
        entities.append({"type": "blockquote", "offset": quote, "length": units(shown) - quote})
    return shown, entities


def _from_old_markdown(text: str) -> tuple[str, list[Json]]:
    """`Markdown`, which knows no nesting."""
    shown, entities, at = "", [], 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("_", "*", "`", "["):
            shown += text[at + 1]
            at += 2
            continue
        mark = next((mark for mark in ("```", "*", "_", "`", "[") if text.startswith(mark, at)), "")
        if not mark:
            shown += text[at]
            at += 1
            continue
        end = text.find("]" if mark == "[" else mark, at + len(mark))
        if end < 0:
            place = len(text[:at].encode())
            raise MarkupError(f"Can't find end of the entity starting at byte offset {place}")
        words, offset = text[at + len(mark) : end], units(shown)
        shown += words
        at = end + len(mark)
        entity = {"type": _MARKS.get(mark, "text_link"), "offset": offset, "length": units(words)}
        if mark == "[":
            link = re.match(r"\(([^)]*)\)", text[at:])
            at += link.end() if link else 0
            entity["url"] = link[1] if link else ""
        if entity.get("url", " "):
            entities.append(entity)
    return shown, entities
