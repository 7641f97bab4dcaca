"""The tables of docs/metrics.md, as they follow from the catalogue: `python -m tests.telling.manual_table` writes them there."""

import re
from pathlib import Path

from crm_sync.telling.catalogue import CATALOGUE, VALUES, Metric

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = "| metric | kind | labels | what it tells |\n|---|---|---|---|\n"


def table(*, shared: bool) -> str:
    return HEAD + "".join(_row(metric) for metric in CATALOGUE.values() if metric.shared == shared)


def values() -> str:
    """What the labels can say."""
    rows = [f"| `{label}` | {', '.join(f'`{value}`' for value in said)} |\n" for label, said in VALUES.items() if label != "code"]
    return "| label | values |\n|---|---|\n" + "".join(rows)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.meaning} |\n"


def written(text: str) -> str:
    """The page with these tables in it, each after its comment."""
    for name, made in (("worker", table(shared=False)), ("all", table(shared=True)), ("labels", values())):
        text = re.sub(rf"(<!-- {name} -->\n\n)(?:\|.*\n)*", lambda match, made=made: match[1] + made, text)
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
