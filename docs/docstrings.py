"""Docstrings as Markdown: roles as plain code, examples as blocks (an extension of Griffe)."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|mod|meth|attr|data):`[~.]*([^`]+)`")
EXAMPLE = re.compile(r"((?:^[ ]*(?:>>>|\.\.\.) .*\n?)+)", re.MULTILINE)


class PlainDocstrings(Extension):
    """Changes each docstring when it is collected."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(_block, text)


def _block(example: re.Match[str]) -> str:
    lines = [
        line.strip().removeprefix(">>> ").removeprefix("... ") for line in example[1].splitlines()
    ]
    return "\n".join(["```python", *lines, "```", ""])
