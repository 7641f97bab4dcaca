"""What people and applications can ask for and do: used by both the API's routes and the console's pages."""

from crm_sync.api.changing import Changing
from crm_sync.api.contacts import Contacts
from crm_sync.api.events import Events
from crm_sync.api.fields import Fields
from crm_sync.api.following import Following
from crm_sync.api.lanes import Lanes
from crm_sync.api.references import References
from crm_sync.api.rights import Rights
from crm_sync.api.tables import Tables
from crm_sync.configuration import Configuration
from crm_sync.postgres.visiting import ReadOnly, Visiting

READERS = 4  # connections to Postgres that only read
WRITERS = 2
STATEMENT_S = 2.0 / 0.9  # for a slow statement: the server cancels it after two seconds


class Service:
    """reading: never writes. writing: for changes. secret: shared by all processes that accept each other's references."""

    def __init__(
        self, configuration: Configuration, reading: ReadOnly, writing: Visiting, *, secret: bytes | None = None
    ) -> None:
        self.references = References(secret)
        self.tables = Tables(reading)
        self.rights = Rights(reading, self.tables)
        self.events = Events(reading)
        self.lanes = Lanes(configuration, reading, self.tables, self.events)
        self.contacts = Contacts(configuration, reading, self.tables, self.references)
        self.changing = Changing(
            self.tables, self.lanes, self.contacts, references=self.references, reading=reading, writing=writing
        )  # fmt: skip
        self.fields = Fields(configuration, self.tables, self.lanes, reading, writing)
        self.following = Following(self.events.followed)
