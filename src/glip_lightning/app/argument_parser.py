"""The parser of the command line."""

import argparse
import re
from typing import Any, NoReturn

from glip_lightning.common.escaping import printable_lines
from glip_lightning.config.usage_errors import meant


class Parser(argparse.ArgumentParser):
    """Says in a line what is wrong, not all that could be right."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What is not ours is an override of recipes if the verb takes some."""
        if word := next((word for word in args or () if re.fullmatch("--[^=]+=--", word)), None):
            self.error(f"{word}: no value")  # argparse would make an empty list of it
        parsed, rest = self.parse_known_args(args, namespace)
        if rest and not hasattr(parsed, "overrides"):
            self.error(f"{rest[0]}: not understood")
        parsed.overrides = rest
        return parsed

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument VERB: invalid choice: '([^']*)' \(choose from (.*)\)", message):
            verbs = found[2].replace("'", "").split(", ")
            message = f"{found[1]}: no such verb{meant(found[1], verbs)}"
        self.exit(2, f"glip: {printable_lines(message)}\n  {self.prog} --help lists what there is\n")
