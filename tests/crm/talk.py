"""Talking to a fake CRM like any HTTP client, and a manual clock."""

from typing import Any, NamedTuple


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


class Reply(NamedTuple):
    """body: parsed where it is JSON, else the text; None if there is none."""

    status: int
    body: Any
    headers: Any
    text: str


class Talk:
    def __init__(self, session):
        self.session = session

    async def ask(self, method, path, json=None, **options):
        async with self.session.request(method, path, json=json, **options) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            body = await response.json() if text and is_json else text or None
            return Reply(response.status, body, response.headers, text)
