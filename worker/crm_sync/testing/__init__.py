"""For those who write the client of a CRM: a fake CRM to try it on, and the checks that it has to pass.

    from crm_sync.testing import Answer, ClientContract, Record, RoutedSandbox, route

`RoutedSandbox` becomes the vendor by its routes, `ClientContract` a file of tests for pytest. docs/how-to/write-a-plug-in.md goes
through both. Nothing here is used by a worker, and nothing needs pytest to be imported.
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
