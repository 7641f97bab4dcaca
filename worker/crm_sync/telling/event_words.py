"""What the events in `crm_sync.events` mean, in words for people who do not know our names."""

import json
from collections.abc import Mapping
from typing import Any

from crm_sync import events
from crm_sync.core.text import clean
from crm_sync.telling import deeds

WORDS: Mapping[str, str] = {
    events.WORKER_STARTED: "a worker started",
    events.WORKER_STOPPING: "a worker was told to stop",
    events.WORKER_STOPPED: "a worker stopped",
    events.CONFIGURATION_RELOADED: "the configuration was read again",
    events.CONFIGURATION_REFUSED: "a new configuration was refused",
    events.LANE_WITHOUT_CREDENTIALS: "there are no credentials for it",
    events.LANE_FAULTY: "a worker cannot deliver until a person fixes something",
    events.LANE_MENDED: "the worker can deliver again",
    events.SESSION_OPENED: "a worker opened its session with the database",
    events.SESSION_LOST: "a worker lost its session with the database",
    events.CLOCK_SET_BACK: "the clock of the database was set back",
    events.REGISTERED_AGAIN: "a worker's registration was missing, and was made again",
    events.LOCKS_TAKEN: "another program holds locks of crm-sync",
    events.TOO_MANY_NOTIFICATIONS: "another program sends more notifications than a worker can read",
    events.CONTACTS_OVERWRITTEN: "older values may have reached the CRM last, so the contacts are sent again",
    events.ORPHANS_RECOVERED: "contacts of a worker that died were put back in line",
    events.STRAYS_LINED_UP: "flips that no trigger saw were put in line",
    events.LANE_PAUSED: "too many requests: all workers wait",
    events.BREAKER_OPENED: "it is down, or refuses every request: nothing is sent until a probe succeeds",
    events.BREAKER_CLOSED: "it answers again",
    events.CLIENT_FAILED: "its client failed with a contact",
    events.REQUESTS_REFUSED: "one kind of request is refused, others are served",
    events.LOOP_FAILED: "a part of a worker failed, and was started again",
    events.HISTORY_NOT_WRITTEN: "history cannot be written; contacts are still delivered",
    events.HISTORY_WRITTEN_AGAIN: "history is written again",
    events.HISTORY_UNTIDY: "history has days that could not be emptied",
    events.METRICS_UNAVAILABLE: "metrics cannot be served",
    events.ALERT_RAISED: "an alert was raised",
    events.ALERT_OVER: "an alert is over",
    events.ALERT_NOT_TOLD: "a channel of alerts failed",
    events.TRACES_LOST: "traces cannot be sent",
    deeds.LANE_HELD: "paused by hand",
    deeds.LANE_RESUMED: "resumed by hand",
    deeds.CONTACTS_RETRIED: "failed contacts were sent again",
    deeds.DRIFT_QUEUED: "contacts that differed in the CRM were sent again",
    deeds.CONTACT_SENT: "a contact was sent by hand",
    deeds.CONTACT_FORGOTTEN: "a contact's key was removed from the history",
    deeds.TABLE_ADOPTED: "the contacts table was adopted, or migrated to this version",
    deeds.COLUMNS_WATCHED: "columns are watched",
    deeds.COLUMNS_UNWATCHED: "a watch ended",
    deeds.ON_DELETE_SET: "the policy for deleted contacts was set",
    deeds.CONTACTS_CHANGED: "the status of contacts was changed",
    deeds.CONTACT_REVEALED: "an address was shown in full",
    deeds.TOKEN_USED: "a token was used",
    deeds.FIELDS_ASKED: "it was asked about its fields",
}
# About a lane: what can happen to a waiting contact between two attempts.
OF_LANES = (
    *(events.LANE_FAULTY, events.LANE_MENDED, events.LANE_PAUSED, events.BREAKER_OPENED, events.BREAKER_CLOSED),
    *(events.CLIENT_FAILED, events.REQUESTS_REFUSED, events.ORPHANS_RECOVERED, events.STRAYS_LINED_UP),
    *(events.WORKER_STARTED, events.WORKER_STOPPED, deeds.LANE_HELD, deeds.LANE_RESUMED, deeds.CONTACTS_RETRIED),
    deeds.DRIFT_QUEUED,
)


def words(event: str) -> str:
    """The words for an event, or its name if another version wrote it."""
    return WORDS.get(event) or event.replace("_", " ")


def shown(details: str) -> dict[str, Any]:
    """Details as JSON, with texts made safe to show: they may come from a CRM."""
    read = json.loads(details)
    return {name: _fit(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_fit(one) for one in value]
    return {name: _fit(one) for name, one in value.items()} if isinstance(value, dict) else value
