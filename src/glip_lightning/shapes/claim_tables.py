"""The comparisons behind the claims as ``claims.csv`` (a row per comparison) and as Markdown."""

import math
from typing import Any

from glip_lightning.experiments.report.added_section import AddedSection
from glip_lightning.experiments.report.statistics import Stat
from glip_lightning.experiments.report.tables import csv_text, markdown_table, plain_text, stat_columns
from glip_lightning.experiments.report.view import View
from glip_lightning.shapes.claim_sections import COMPARED, RULE, claims, comparison_texts, verdict_text
from glip_lightning.shapes.claims import Claim, claims_of
from glip_lightning.shapes.comparisons import Comparison


def claims_files(view: View) -> dict[str, str]:
    """Return ``claims.csv`` where the runs are about claims of the paper."""
    return {"claims.csv": claims_csv(view)} if claims_of(view) else {}


def claims_csv(view: View) -> str:
    """Return differences in points of AP; ``paper`` is the same difference of its means over ODinW-13."""
    return csv_text(_comparison(claim, each) for claim in claims_of(view) for each in claim.comparisons)


def _comparison(claim: Claim, each: Comparison) -> dict[str, Any]:
    empty = Stat(math.nan, None, 0, ())
    numbers = stat_columns(each.stat or empty, each.paper)
    return {
        **{"claim": claim.name, "verdict": claim.verdict, "comparison": each.text, "decides": each.decides},
        "difference": numbers["AP"] if each.stat else None,
        **{key: numbers[key] for key in ("std", "n", "low", "high", "paper")},
        "tasks": f"{len(each.tasks)}/{len(each.planned)}",
        "holds": each.holds if each.decides else None,
    }


def claims_markdown(view: View) -> list[str]:
    """Return a section per claim, as paragraphs."""
    parts = [f"## Claims\n\n{RULE}"] if (found := claims_of(view)) else []
    for claim in found:
        rows = [[each.text, *comparison_texts(each)] for each in claim.comparisons]
        parts += [f"### {claim.title}: {verdict_text(claim)}", f"The paper: {plain_text(claim.paper)}"]
        parts.append(markdown_table(["comparison", *COMPARED], rows))
    return parts


SECTION = AddedSection("Claims", claims, claims_markdown, claims_files)
