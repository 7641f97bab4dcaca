"""docs/reference/metrics.md agrees with the code, also where it is not generated."""

import re

from crm_sync.core.waits import USUAL
from crm_sync.reports.status_reading import MOST
from crm_sync.telling.catalogue import CATALOGUE
from crm_sync.telling.counts import LONG_S
from crm_sync.telling.labels import CONTACT_STATES, LANE_STATES, TOMBSTONE_STATES
from tests.manual import page

TEXT = page("reference/metrics.md")
OF_A_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")


def test_it_names_no_metric_that_does_not_exist():
    known = {metric.full_name for metric in CATALOGUE.values()}
    named = set(re.findall(r"crm_sync_\w+", TEXT))
    assert {name for name in named if name not in known and OF_A_HISTOGRAM.sub("", name) not in known} == set()


def test_it_names_every_state():
    for state in (*LANE_STATES, *TOMBSTONE_STATES, *CONTACT_STATES):
        assert f"`{state}`" in TEXT


def test_its_figures_are_those_of_the_code():
    assert f"every {USUAL.tell_s:.0f} s" in TEXT
    assert f"longer than {LONG_S} s" in TEXT
    assert f"up to {MOST:,}" in TEXT
