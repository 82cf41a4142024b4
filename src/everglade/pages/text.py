"""Any text as HTML that shows just that text."""

from __future__ import annotations

import html

__all__ = ["escape"]

UNREADABLE = "\ufffd"
_KEPT = "\n\t"


def escape(text: str) -> str:
    """Escape a text for HTML, inside of elements and of quoted attributes.

    Characters that HTML cannot hold (controls, halves of surrogate pairs) become U+FFFD, so that a reader sees that
    there was something.
    """
    readable = "".join(UNREADABLE if _is_unreadable(letter) else letter for letter in text)
    return html.escape(readable, quote=True)


def _is_unreadable(letter: str) -> bool:
    code = ord(letter)
    control = code < 0x20 or 0x7F <= code < 0xA0
    return (control and letter not in _KEPT) or 0xD800 <= code < 0xE000 or (code & 0xFFFE) == 0xFFFE
