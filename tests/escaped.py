"""Undo what `astroanomaly.tables.escape` does, for comparison."""

import re


def unescape(text):
    r"""Spell out ``\xNN``, ``\uNNNN`` and ``\UNNNNNNNN``; a backslash before anything else is a backslash."""
    code = r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))"
    return re.sub(code, lambda found: chr(int(found.group(found.lastindex), 16)), text)
