"""For authors of CRM clients: a fake CRM to try the client on, and the checks that it has to pass.

    from crm_sync.testing import Answer, ClientContract, Record, RoutedSandbox, route

A `RoutedSandbox` imitates the vendor with its routes; a `ClientContract` is a set of tests for pytest.
docs/how-to/write-a-plug-in.md explains both. Workers use nothing from this package, and importing it does not need pytest.
"""

from crm_sync.sandbox.limits import Limit, Window
from crm_sync.sandbox.server import Answer, Call, Fault, Hold, LoggedRequest, Sandbox
from crm_sync.testing.base import Record
from crm_sync.testing.contract import ClientContract
from crm_sync.testing.routes import RoutedSandbox, route
from crm_sync.testing.serving import serve
from crm_sync.testing.tokens import TokenDesk

__all__ = [
    "Answer",
    "Call",
    "ClientContract",
    "Fault",
    "Hold",
    "Limit",
    "LoggedRequest",
    "Record",
    "RoutedSandbox",
    "Sandbox",
    "TokenDesk",
    "Window",
    "route",
    "serve",
]
