"""Every metric, from the catalogue."""

from collections.abc import Callable, Mapping
from functools import partial

from crm_sync.telling.catalogue import CATALOGUE, VALUES
from docs.generate.tables import code, table


def _metrics(*, shared: bool) -> str:
    rows = [
        [code(metric.full_name), metric.kind, ", ".join(map(code, metric.labels)), metric.meaning]
        for metric in CATALOGUE.values()
        if metric.shared == shared
    ]
    return table(["metric", "kind", "labels", "what it tells"], rows)


def _labels() -> str:
    return table(
        ["label", "values"], [[code(name), ", ".join(map(code, said))] for name, said in VALUES.items() if name != "code"]
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "metrics-worker": partial(_metrics, shared=False),
    "metrics-all": partial(_metrics, shared=True),
    "metrics-labels": _labels,
}
