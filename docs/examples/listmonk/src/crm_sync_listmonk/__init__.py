"""listmonk for crm-sync: its settings, its account, and its registration."""

from functools import partial

from crm_sync.crm.account import Account, over_http, require_none
from crm_sync.crm.registry import Crm
from crm_sync.environment import read
from crm_sync.errors import ConfigurationError
from crm_sync.settings import Key, SettingsModel
from crm_sync_listmonk.client import Listmonk

DEFAULT_FIELDS = {"name": "first_name", "last_name": "last_name", "city": "city"}


class ListmonkSettings(SettingsModel):
    """LISTMONK_URL and so on. The API user needs the permissions subscribers:get_all and subscribers:manage."""

    listmonk_url: str | None = None
    listmonk_username: str | None = None
    listmonk_token: Key | None = None
    listmonk_list_id: int | None = None


def account() -> Account | None:
    """None if nothing is set. Raises ConfigurationError that names a missing or wrong setting."""
    settings = read(ListmonkSettings)
    if settings.listmonk_url is None:
        require_none("LISTMONK_URL", settings)
        return None
    if settings.listmonk_username is None or settings.listmonk_token is None:
        raise ConfigurationError("LISTMONK_USERNAME, LISTMONK_TOKEN: not set; they are those of an API user in listmonk")
    login = f"{settings.listmonk_username}:{settings.listmonk_token.get_secret_value()}"
    url = settings.listmonk_url.rstrip("/")
    return over_http(
        "listmonk",
        partial(Listmonk, list_id=settings.listmonk_list_id),
        url_setting="LISTMONK_URL",
        base_url=url,
        headers={"Authorization": f"token {login}"},
        default_fields=DEFAULT_FIELDS,
        record_url=url.replace("{", "%7B").replace("}", "%7D") + "/admin/subscribers/{id}",
    )


crm = Crm("listmonk", account, DEFAULT_FIELDS, ListmonkSettings, ("listmonk_url", "listmonk_username", "listmonk_token"))
