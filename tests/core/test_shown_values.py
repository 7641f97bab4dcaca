"""What people may see of a setting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.shown_values import masked_url, shown


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://ada@host/db", "postgresql://ada@host/db"),
        ("postgresql://ada:pw@host:5432/db?sslmode=require", "postgresql://ada:***@host:5432/db?sslmode=require"),
        ("postgresql+asyncpg://ada:p@w/o?r=d@host/db", "postgresql+asyncpg://ada:***@host/db"),
        ("postgres://host/db?password=pw&user=ada", "postgres://host/db?password=***&user=ada"),
        ("postgresql:///db?sslkey=/etc/key&sslpassword=pw", "postgresql:///db?sslkey=/etc/key&sslpassword=***"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://ada:pw@proxy:3128", "http://***@proxy:3128"),
        ("https://token@crm.example.com/api", "https://***@crm.example.com/api"),
        ("https://crm.example.com/api?api_key=x&y", "https://crm.example.com/api?api_key=***&y"),
    ],
)
def test_what_lets_somebody_in_is_masked_in_a_url(url, masked):
    assert masked_url(url) == masked


@pytest.mark.parametrize(
    "name",
    ["brevo_api_key", "HUBSPOT_ACCESS_TOKEN", "n8n_signing_secret", "mautic_password", "a_passphrase", "x_credentials"],
)
def test_a_name_tells_of_a_secret_whatever_its_type(name):
    assert shown(name, "abc", is_secret=False) == "***"


@pytest.mark.parametrize("name", ["contacts_key", "contacts_table", "mapping_file", "brevo_list_id"])
def test_what_is_no_secret_is_shown(name):
    assert shown(name, "abc", is_secret=False) == "abc"
    assert shown(name, "abc", is_secret=True) == "***"


@pytest.mark.parametrize("name", ["n8n_webhook_url", "ALERT_WEBHOOK_URL"])
def test_of_a_webhook_only_the_host_is_shown(name):
    assert shown(name, "https://n8n.example.com:5678/webhook/0f1e?x=1", is_secret=False) == "https://n8n.example.com:5678/***"
    assert shown(name, "https://ada:pw@n8n.example.com", is_secret=False) == "https://***@n8n.example.com"


def test_it_is_one_line_that_a_terminal_does_not_obey():
    assert shown("contacts_table", "a\x1b[2J\nb", is_secret=False) == "a [2J b"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12), st.sampled_from(["postgresql", "http", "https"]))
def test_no_password_is_ever_shown(password, scheme):
    # If a secret were one of the other words, nothing could be shown.
    assert password not in masked_url(f"{scheme}://ada:{password}@host/db?connect_timeout=5")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("host=one user=ada password='a b' dbname=shop", "host=one user=ada password=*** dbname=shop"),
        ("host=one sslkey=/etc/key sslpassword=x", "host=one sslkey=/etc/key sslpassword=***"),
        ("host=one password='a b", "***"),
        ("host=one password=x://y", "host=one password=***"),
    ],
)
def test_what_lets_somebody_in_is_masked_in_keywords_too(text, masked):
    assert shown("database_url", text, is_secret=False) == masked
    assert shown("LISTEN_DATABASE_URL", text, is_secret=False) == masked
