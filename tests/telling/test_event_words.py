"""Each event has words, and its details are safe to show."""

from crm_sync.telling import deeds
from crm_sync.telling.event_words import OF_LANES, WORDS, shown, words
from crm_sync.telling.events_log import KEPT

VIAS = {deeds.COMMAND, deeds.WORKER, deeds.CONSOLE, deeds.API}


def test_every_event_that_is_written_has_words():
    done = {value for name, value in vars(deeds).items() if name.isupper() and isinstance(value, str)} - VIAS
    assert set(WORDS) == KEPT | done
    assert set(OF_LANES) <= set(WORDS)


def test_one_of_another_version_is_told_by_its_name():
    assert words("lane_painted") == "lane painted"


def test_texts_within_details_are_cleaned_however_deep():
    said = shown('{"reason": "ada@example.com\\u001b[2J", "more": [{"who": "b@example.com"}], "contacts": 3}')
    assert said == {"reason": "*** [2J", "more": [{"who": "***"}], "contacts": 3}


def test_details_that_are_no_object_are_left_out():
    assert shown("[1]") == {}
