"""Sections that plugins add to the report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from glip_lightning.experiments.report.view import View


@dataclass(frozen=True)
class AddedSection:
    """What a plugin says about the runs of a report; all parts are empty where it has nothing to say about them."""

    title: str  # of the link in the head of the page, which leads to the id by which the section is registered
    page: Callable[[View], str]  # HTML
    markdown: Callable[[View], list[str]]  # paragraphs
    files: Callable[[View], Mapping[str, str]]  # content by name, beside the report
