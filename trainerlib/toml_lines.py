r"""Where in a TOML file a key stands: the standard library's parser does not say, and people look for the line.

>>> line_of('[split]\n# seed = 1\nseed = "seven"', "split", "seed")
3
"""

from __future__ import annotations

import re


def line_of(text: str, section: str, key: str = "") -> int:
    """Line number, from 1, of a key or of its section's header, by a plain search; comments are passed over.

    Args:
        text: content of the file.
        section: name of the section, or of a key at the top.
        key: name of the key; empty for the section itself.
    """
    lines = text.splitlines()
    name = rf"[\"']?{re.escape(section)}[\"']?"
    header = re.compile(rf"\s*\[+\s*{name}\s*[\].]|\s*{name}\s*[=.]")
    start = next((number for number, line in enumerate(lines, 1) if header.match(line)), 1)
    if not key:
        return start
    wanted = re.compile(rf"(?:[^#]*[\s.{{,])?[\"']?{re.escape(key)}[\"']?\s*=")
    return next((number for number, line in enumerate(lines[start - 1 :], start) if wanted.match(line)), start)
