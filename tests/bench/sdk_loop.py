"""A plain loop over a vendor's official SDK, as a script that somebody would write first: one call a contact.

python -m tests.bench.sdk_loop hubspot URL CONTACTS     prints the contacts it made a second

It reads no table and writes nothing back, which is in its favour.
"""

import sys
import time
from collections.abc import Callable

from tests.bench.peers.telling import limit_lifetime
from worker.sandbox.credentials import BREVO_KEY, HUBSPOT_TOKEN

WARM_UP = 5


def hubspot(url: str) -> Callable[[int], None]:
    from hubspot.crm.contacts import ApiClient, BasicApi, Configuration, SimplePublicObjectInputForCreate

    configuration = Configuration()
    configuration.host = url
    configuration.access_token = HUBSPOT_TOKEN
    api = BasicApi(ApiClient(configuration))

    def create(number: int) -> None:
        name = {"firstname": "Ada", "lastname": "Lovelace", "company": "Analytical Engines", "city": "London"}
        properties = {"email": f"person.{number}@example.com", "phone": f"+3363998{number}", **name}
        api.create(SimplePublicObjectInputForCreate(properties=properties, associations=[]))

    return create


def brevo(url: str) -> Callable[[int], None]:
    from brevo import Brevo

    client = Brevo(api_key=BREVO_KEY, base_url=f"{url}/v3")

    def create(number: int) -> None:
        attributes = {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace", "SMS": f"+3363998{number:06}"}
        client.contacts.create_contact(email=f"person.{number}@example.com", attributes=attributes, update_enabled=True)

    return create


def main() -> None:
    limit_lifetime()
    crm, url, contacts = sys.argv[1], sys.argv[2], int(sys.argv[3])
    create = {"hubspot": hubspot, "brevo": brevo}[crm](url)
    for number in range(WARM_UP):
        create(number)
    started = time.perf_counter()
    for number in range(WARM_UP, WARM_UP + contacts):
        create(number)
    print(contacts / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
