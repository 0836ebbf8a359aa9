"""What makes a page harmless: one script and one style that may run, nothing fetched, and the colours of pictures."""

from __future__ import annotations

import base64
import hashlib

from harness.drawing.palette import DARK, LIGHT


def policy(script: str, style: str) -> str:
    """The content security policy of a page that runs this script and this style, and shows pictures that it holds."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def themes() -> str:
    """The palette of pictures as CSS variables, by day and by night."""
    return f':root {{ {LIGHT.css()} }}\n:root[data-theme="dark"] {{ {DARK.css()} }}\n'


def strict(script: str) -> str:
    """One strict function around all of a script: the page has no global names."""
    return f'(() => {{\n"use strict";\n{script}\n}})();'
