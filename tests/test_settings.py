"""What a value of a setting may be."""

import pytest

from crm_sync.crm.brevo.client import account as brevo
from crm_sync.crm.hubspot.settings import HubSpotSettings
from crm_sync.crm.mautic.settings import MauticSettings
from crm_sync.crm.n8n.client import account as n8n
from crm_sync.crm.registry import OWN
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError
from crm_sync.settings import Settings, TransportSettings

KEY = "pat-eu1-0123"


def of(**values):
    return Environment({name.lower(): value for name, value in values.items()})


@pytest.fixture
def outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("written", [KEY, f"{KEY}\n", f"{KEY}\r\n", f" {KEY}\t", f"\n{KEY}\n\n", f"{KEY}\u00a0"])
@pytest.mark.parametrize("place", ["credential", ".env", "environment"])
def test_blanks_around_a_key_do_not_count(outside, monkeypatch, place, written):
    if place == "credential":
        (outside / "HUBSPOT_ACCESS_TOKEN").write_bytes(written.encode())
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(outside))
    elif place == ".env":
        (outside / ".env").write_text(f'HUBSPOT_ACCESS_TOKEN="{written}"\n')
    else:
        monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", written)
    token = Environment.capture().read(HubSpotSettings).hubspot_access_token
    assert token is not None
    assert token.get_secret_value() == KEY


@pytest.mark.parametrize(
    "wrong", ["k\ney", "k\tey", "k\x00ey", "k\x7fey", "k ey", "key\u201d", "k\u2013ey", "k\u200bey", "kéy", "\ufeffkey"]
)
def test_what_no_header_can_carry_is_refused_by_the_name_of_its_setting_and_not_shown(wrong):
    with pytest.raises(ConfigurationError, match=r"^HUBSPOT_ACCESS_TOKEN: expected printable ASCII") as refused:
        of(HUBSPOT_ACCESS_TOKEN=wrong).read(HubSpotSettings)
    assert wrong not in str(refused.value)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_that_a_reader_left_around_a_key_are_no_part_of_any_key(quote):
    with pytest.raises(ConfigurationError, match=r"^HUBSPOT_ACCESS_TOKEN: expected no quotes around it") as refused:
        of(HUBSPOT_ACCESS_TOKEN=f"{quote}{KEY}{quote}").read(HubSpotSettings)
    assert KEY not in str(refused.value)
    assert of(HUBSPOT_ACCESS_TOKEN=f"{quote}{KEY}").read(HubSpotSettings).hubspot_access_token is not None


@pytest.mark.parametrize("wrong", ["pass\nword", "pass\tword", "\x00password"])
def test_a_password_may_have_any_characters_but_control_characters(wrong):
    assert of(MAUTIC_PASSWORD="pässwörd yes").read(MauticSettings).mautic_password is not None
    with pytest.raises(ConfigurationError, match=r"^MAUTIC_PASSWORD: expected no control characters"):
        of(MAUTIC_PASSWORD=wrong).read(MauticSettings)


@pytest.mark.parametrize(
    ("allowed", "port", "hosts"),
    [
        ("", 80, set()),
        ("n8n", 5678, {"n8n"}),
        ("n8n:5678", 5678, {"n8n"}),
        ("n8n:5678", 80, set()),
        ("N8N , mautic:8080,", 8080, {"n8n", "mautic"}),
        ("fd00::1", 5678, {"fd00::1"}),
        ("[fd00::1]", 5678, {"fd00::1"}),
        ("[fd00::1]:5678", 5678, {"fd00::1"}),
        ("[fd00::1]:5678", 80, set()),
        ("10.0.0.7:80", 80, {"10.0.0.7"}),
    ],
)
def test_hosts_may_have_ports(allowed, port, hosts):
    assert of(HTTP_ALLOWED_HOSTS=allowed).read(TransportSettings).hosts(port) == hosts


@pytest.mark.parametrize(
    "wrong",
    ["http://n8n", "n8n/webhook", "http://n8n:5678", "n8n:port", "n8n:0", "n8n:99999", "user@n8n", "[fd00::1", "*", "a b"],
)
def test_what_is_no_host_is_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=r"^HTTP_ALLOWED_HOSTS: expected comma-separated hosts, .*n8n:5678"):
        of(HTTP_ALLOWED_HOSTS=wrong).read(TransportSettings)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("n8n:5678", "http://n8n:5678/webhook/x"),
        ("[fd00::1]:5678", "http://[fd00::1]:5678/webhook/x"),
        ("n8n", "http://n8n/webhook/x"),
    ],
)
def test_a_host_that_is_allowed_is_spoken_to(allowed, url):
    with of(HTTP_ALLOWED_HOSTS=allowed, N8N_WEBHOOK_URL=url).in_force():
        assert n8n() is not None


def test_of_one_that_is_not_the_message_says_what_is_allowed():
    allowed = of(HTTP_ALLOWED_HOSTS="n8n:5679", N8N_WEBHOOK_URL="http://n8n:5678/webhook/x")
    with allowed.in_force(), pytest.raises(ConfigurationError, match=r"^N8N_WEBHOOK_URL: .*which allows n8n:5679"):
        n8n()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MAUTIC_BASE_URL": "https://m.example", "MAUTIC_USERNAME": "ada"}, "MAUTIC_PASSWORD"),
        ({"MAUTIC_BASE_URL": "https://m.example", "MAUTIC_CLIENT_ID": "1_a"}, "MAUTIC_CLIENT_SECRET"),
        ({"MAUTIC_BASE_URL": "https://m.example"}, "MAUTIC_USERNAME"),
        ({"MAUTIC_USERNAME": "ada", "MAUTIC_PASSWORD": "secret"}, "MAUTIC_BASE_URL"),
        ({"N8N_WEBHOOK_URL": "https://n8n.example/webhook/x", "N8N_HEADER_NAME": "x-key"}, "N8N_HEADER_VALUE"),
        ({"N8N_WEBHOOK_URL": "https://n8n.example/webhook/x", "N8N_USERNAME": "ada"}, "N8N_PASSWORD"),
        ({"N8N_HEADER_NAME": "x-key", "N8N_HEADER_VALUE": "secret"}, "N8N_WEBHOOK_URL"),
    ],
)
def test_half_credentials_are_refused_by_the_name_of_what_is_missing(given, named):
    crm = next(iter(given)).partition("_")[0].lower()
    with of(**given).in_force(), pytest.raises(ConfigurationError, match=named):
        OWN[crm].read_account()


def test_without_credentials_there_is_no_account():
    with of().in_force():
        assert brevo() is None


@pytest.mark.parametrize("name", ["DATABASE_URL", "LISTEN_DATABASE_URL"])
@pytest.mark.parametrize(
    ("query", "why"),
    [("gssencmode=require", "gssencmode can be disable or prefer"), ("pool_size=3", "the parameter pool_size is unknown")],
)
def test_a_url_that_cannot_be_met_is_refused_by_the_names_of_setting_and_parameter(name, query, why):
    urls = {"DATABASE_URL": "postgresql://one/shop", name: f"postgresql://ada:secret@one/shop?{query}"}
    with pytest.raises(ConfigurationError, match=rf"^{name}: {why}") as refused:
        of(**urls).read(Settings)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "url", "behind_pooler"),
    [
        ({}, "postgresql://one/shop", False),
        ({}, "postgresql://one/shop?pgbouncer=true", True),
        ({"DATABASE_BEHIND_POOLER": "false"}, "postgresql://one/shop?pgbouncer=true", False),
        ({"DATABASE_BEHIND_POOLER": "true"}, "postgresql://one/shop", True),
    ],
)
def test_a_pooler_is_told_by_the_url_or_by_the_setting_which_outweighs_it(said, url, behind_pooler):
    assert of(DATABASE_URL=url, **said).read(Settings).behind_pooler is behind_pooler


@pytest.mark.parametrize(
    ("said", "path"),
    [("", ()), ("public", ("public",)), ('Public , "The ""App""",x_1', ("public", 'The "App"', "x_1"))],
)
def test_the_path_of_a_mapping_is_written_as_sql_writes_it(said, path):
    assert of(DATABASE_URL="postgresql://one/shop", MAPPING_SEARCH_PATH=said).read(Settings).mapping_path == path


@pytest.mark.parametrize("wrong", ["public,", "a b", '"a', "a;b", "$user", '"$user"'])
def test_what_is_no_list_of_schemas_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"^MAPPING_SEARCH_PATH: expected"):
        of(DATABASE_URL="postgresql://one/shop", MAPPING_SEARCH_PATH=wrong).read(Settings)
