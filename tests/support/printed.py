"""The values in what a program prints, whatever the words around them are."""

import re


def words(text: str) -> set[str]:
    """Return the words of a text without the punctuation around them: options, names and paths are
    one word each.
    """
    return {word for part in text.split() if (word := part.strip(",;:?!.'\"()[]{}"))}


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, in their order, as they are written."""
    return re.findall(r"\d+(?:\.\d+)?", text)


def line_with(text: str, *values: object) -> str:
    """Return the line that holds all the values; the test fails where there is none, or more than
    one.
    """
    found = [line for line in text.splitlines() if all(str(value) in line for value in values)]
    assert len(found) == 1, f"{len(found)} lines with {values} in:\n{text}"
    return found[0]


def ap_lines(text: str, split: str) -> list[str]:
    """Return the lines with which a run ends: AP, AP50 and the number of images of a split."""
    return [
        line
        for line in text.splitlines()
        if line.startswith("AP ") and {"AP50", split} <= words(line)
    ]
