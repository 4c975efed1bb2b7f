"""What Gómez & O'Ryan published about their method: figures with their source, to be set beside one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CLASS_NAMES", "SOURCES", "Published", "published"]

SOURCES = {
    "v1": "abstract of arXiv:2505.03509v1 (6 May 2025), https://arxiv.org/abs/2505.03509v1",
    "v2": "abstract of arXiv:2505.03509v2 (30 October 2025), https://arxiv.org/abs/2505.03509v2",
    "tables": "tables of arXiv:2505.03509, two digits; of which edition was not noted, https://arxiv.org/abs/2505.03509",
    "notes": "the authors' notes on version 1 of their program, third round, "
    "https://github.com/esa/AnomalyMatch/blob/9f45b763b2515ce3cd4a0966131c31a221c82baf/"
    "paper_scripts/v2/REGRESSION_INVESTIGATION.md",
}
CLASS_NAMES = {  # WordNet ids of miniImageNet
    "n03272010": "electric guitar",
    "n03544143": "hourglass",
    "n03924679": "photocopier",
    "n04515003": "upright piano",
    "n07747607": "orange",
}


@dataclass(frozen=True)
class Published:
    """One row of published figures, without scatter: one seed each, or a mean of classes.

    Attributes
    ----------
    table
        Which study: ``classes``, ``iterations``, ``learning`` or ``labels``.
    row
        What it was measured on: a class, a number of steps, a way of labelling, a number of labels.
    figures
        AUROC, AUPRC, precision among the first 1 %, as far as they are known.
    source
        Key of `SOURCES`.
    """

    table: str
    row: str
    figures: Mapping[str, float]
    source: str


def _figures(auroc: float | None, auprc: float | None, precision: float | None) -> dict[str, float]:
    given = {"auroc": auroc, "auprc": auprc, "precision_1pct": precision}
    return {name: value for name, value in given.items() if value is not None}


_ROWS = (
    ("classes", "electric guitar", _figures(None, 0.76, None), "tables"),
    ("classes", "orange", _figures(None, 0.65, None), "tables"),
    ("classes", "hourglass", _figures(0.970, 0.838, 0.76), "notes"),
    ("classes", "mean of five classes of miniImageNet", _figures(0.95, 0.77, 0.71), "v1"),
    ("classes", "mean of five classes of miniImageNet", _figures(0.96, 0.82, 0.76), "v2"),
    ("classes", "mean of the classes of GalaxyMNIST", _figures(0.86, 0.71, 0.93), "v1"),
    ("classes", "mean of the classes of GalaxyMNIST", _figures(0.89, 0.77, 0.94), "v2"),
    ("classes", "odd galaxies of Galaxy Zoo", _figures(0.83, None, None), "v2"),
    *(
        ("iterations", str(steps), _figures(None, value, None), "tables")
        for steps, value in ((50, 0.77), (100, 0.79), (250, 0.78), (500, 0.77))
    ),
    *(
        ("learning", way, _figures(None, value, None), "tables")
        for way, value in (("with", 0.79), ("without", 0.70), ("at once, drawn", 0.85))
    ),
    *(
        ("labels", str(count), _figures(None, value, None), "tables")
        for count, value in ((100, 0.65), (500, 0.79), (1000, 0.78))
    ),
)


def published(table: str) -> list[Published]:
    """Return what is known of one table."""
    return [Published(*row) for row in _ROWS if row[0] == table]
