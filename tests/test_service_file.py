"""Services of libpq's files, for both drivers alike."""

import pytest

from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError
from crm_sync.service_file import read_service
from crm_sync.settings import Settings

FILE = """
# a comment
[shop]
host=one
port = 5433
host=two

[other]
host=three
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("PGSERVICEFILE", "PGSYSCONFDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def test_it_is_found_where_libpq_looks_and_the_first_line_counts(folder, monkeypatch):
    (folder / "home" / ".pg_service.conf").write_text(FILE)
    assert read_service("shop") == {"host": "one", "port": "5433"}
    (folder / "pg_service.conf").write_text("[shared]\nhost=four\n")
    monkeypatch.setenv("PGSYSCONFDIR", str(folder))
    assert read_service("shared") == {"host": "four"}
    (folder / "own").write_text("[shop]\nhost=five\n")
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "own"))
    assert read_service("shop") == {"host": "five"}


def test_a_url_with_one_is_read_whole_and_one_that_is_nowhere_is_refused(folder):
    (folder / "home" / ".pg_service.conf").write_text("[shop]\nhost=one\nuser=ada\npassword=p@ss/word\n")
    settings = Environment({"database_url": "postgresql:///shop?service=shop"}).read(Settings)
    assert settings.database_url == "postgresql://?host=one&user=ada&password=p%40ss%2Fword&dbname=shop"
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: service: not found in the file"):
        Environment({"database_url": "postgresql:///shop?service=nowhere"}).read(Settings)


def test_what_a_service_asks_for_is_held_to_the_same_table(folder):
    (folder / "home" / ".pg_service.conf").write_text("[shop]\nhost=one\ngssencmode=require\n[ldap]\nldap://x\n")
    for name, why in (("shop", "gssencmode can be"), ("ldap", "LDAP is not supported")):
        with pytest.raises(ConfigurationError, match=rf"^DATABASE_URL: .*{why}"):
            Environment({"database_url": f"postgresql://?service={name}"}).read(Settings)
