"""The moods of a CRM: what happens to requests while they last."""

import json
from collections.abc import Callable
from random import Random

from crm_sync.sandbox.server import Answer, Call, Fault
from tests.chaos.crms import Mood, Watched

HTML = {"Content-Type": "text/html"}
PLAIN = {"Content-Type": "text/plain"}
SLOWEST_S = 6.0  # below every timeout of the workers: a slow request is answered in the end


def throttles(crm: Watched, chance: Random) -> Mood:
    pause_s = chance.choice([None, 1, 2, 4])
    answer = crm.throttled() if pause_s is None else Answer(429, {"message": "too many"}, {"Retry-After": str(pause_s)})
    return lambda _: Fault(answer=answer)


def is_unavailable(_crm: Watched, _chance: Random) -> Mood:
    return lambda _: Fault(answer=Answer(503, b"<html>503 Service Unavailable</html>", HTML))


def fails_and_quotes(_crm: Watched, chance: Random) -> Mood:
    """A debug page for every other request, which quotes all of it."""

    def mood(call: Call) -> Fault | None:
        page = f"<html><h1>Whoops</h1>{call.path} {json.dumps(call.body, default=str)}</html>"
        return Fault(answer=Answer(500, page.encode(), HTML)) if chance.random() < 0.5 else None

    return mood


def is_slow(_crm: Watched, chance: Random) -> Mood:
    slowest_s = chance.uniform(0.2, SLOWEST_S)
    return lambda _: Fault(applies=True, delay_s=chance.uniform(0, slowest_s))


def loses_answers(_crm: Watched, chance: Random) -> Mood:
    return lambda _: Fault(applies=True, drop=True) if chance.random() < 0.3 else None


def drops_requests(_crm: Watched, _chance: Random) -> Mood:
    return lambda _: Fault(drop=True, delay_s=0.05)


def refuses_the_key(_crm: Watched, _chance: Random) -> Mood:
    return lambda _: Fault(answer=Answer(401, {"code": "unauthorized", "message": "Key not found"}))


def breaks_its_answers(_crm: Watched, chance: Random) -> Mood:
    """Applied, and then half a body."""
    return lambda _: Fault(applies=True, answer=Answer(200, b'{"results": [{"id": "1')) if chance.random() < 0.5 else None


def shows_a_page(_crm: Watched, _chance: Random) -> Mood:
    """A 200 from something in front of the CRM."""
    return lambda _: Fault(answer=Answer(200, b"<!DOCTYPE html><html>Please sign in</html>", HTML))


MOODS: dict[str, Callable[[Watched, Random], Mood]] = {
    "CRM says too many requests": throttles,
    "CRM answers 503": is_unavailable,
    "CRM answers 500, quoting": fails_and_quotes,
    "CRM is slow": is_slow,
    "CRM loses answers": loses_answers,
    "CRM drops connections": drops_requests,
    "CRM refuses the key": refuses_the_key,
    "CRM breaks its answers": breaks_its_answers,
    "CRM shows a page with 200": shows_a_page,
}
