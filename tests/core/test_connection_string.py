"""What DATABASE_URL may contain: read as by libpq, and what each driver gets from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crm_sync.core.connection_parameters import PARAMETERS, For
from crm_sync.core.connection_string import ConnectionString
from crm_sync.core.postgres_url import parameters_of, url_of

URL = "postgresql://ada:secret@db.example.com:5433/shop"


def parsed(query=""):
    return ConnectionString.parse(f"{URL}?{query}" if query else URL)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://db.example.com",
        "postgresql://",
        "postgresql:///shop",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/shop",
        "postgresql://one,two:6543,three/shop?target_session_attrs=read-write",
        "postgresql://[::1]:6543/shop",
        "postgresql://[::1],[fe80::1]:6543/shop",
        "postgresql://ada@/shop",
        "postgresql://ada:p%40ss%2Fw%25rd@one/shop",
        "postgresql://ada:p#ss?w+rd@one/shop",
        "postgresql://ada:a:b@one/shop",
        "postgresql://one/shop?user=ada&password=a+b%20c",
        "postgresql://one?sslrootcert=/etc/ssl/ca.pem",
        "postgresql://one/shop?host=two&dbname=other",
        "postgresql://one/The%20Shop?options=-c%20search_path%3Dcrm",
        "postgresql://one/shop?sslmode=require&sslmode=verify-full",
        "postgresql://a%C3%A9:x@one/shop",
    ],
)
def test_it_is_read_as_libpq_reads_it(url):
    assert parameters_of(url) == conninfo_to_dict(url)


def test_a_password_may_have_an_at_sign_and_the_scheme_a_driver():
    assert parameters_of("postgresql+asyncpg://ada:p@ss@one/shop") == {
        "host": "one",
        "user": "ada",
        "password": "p@ss",
        "dbname": "shop",
    }


PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"mysql://ada:{PASSWORD}@one/shop", "expected a URL such as postgresql://"),
        (f"{PASSWORD}@one", "expected a URL such as postgresql://"),
        (f"postgresql://ada:{PASSWORD}/x@one/shop", "after the first /"),
        (f"postgresql://ada:/{PASSWORD}@one/shop", "after the first /"),
        (f"postgresql://ada:{PASSWORD}%@one/shop", "a % is not followed by two digits"),
        (f"postgresql://ada:%00{PASSWORD}@one/shop", "a NUL character"),
        (f"postgresql://ada:%ff{PASSWORD}@one/shop", "not valid UTF-8"),
        (f"postgresql://ada:{PASSWORD}@one:port/shop", "a port is not a number"),
        (f"postgresql://ada:{PASSWORD}@one:99999/shop", "a port is not a number"),
        (f"postgresql://ada:{PASSWORD}@one:1,two:2,three:3/shop?host=four", "the numbers of hosts"),
        (f"postgresql://ada:{PASSWORD}@fe80::1/shop", "in brackets"),
        (f"postgresql://ada:{PASSWORD}@one,,two/shop", "one of several hosts is empty"),
        (f"postgresql://ada:{PASSWORD}@one/shop?sslmode", "name=value"),
        (f"postgresql://ada:{PASSWORD}@one/shop?sslmode={PASSWORD}", "sslmode can be disable or"),
        (f"postgresql://ada:{PASSWORD}@one/shop?connect_timeout={PASSWORD}", "connect_timeout is not a number"),
        (f"postgresql://ada:1/2?{PASSWORD}=3@one/shop", "is unknown to Postgres; in the password"),
    ],
)
def test_what_is_wrong_is_said_without_anything_of_the_url(url, why):
    with pytest.raises(ValueError, match=why) as refused:
        ConnectionString.parse(url)
    assert PASSWORD not in str(refused.value)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password_reaches_both_drivers(password):
    connection = ConnectionString.parse(url_of({"host": "one", "password": password}))
    assert connection.for_libpq()["password"] == password
    assert connection.for_asyncpg(behind_pooler=False).arguments["password"] == password
    assert ConnectionString.parse(connection.url) == connection


# As the vendors print them: Neon, Supabase, Prisma, PlanetScale, Heroku and node-postgres, CockroachDB and Azure.
VENDORS = {
    "sslmode=require&channel_binding=require": ["channel_binding"],
    "sslmode=require&options=endpoint%3Dep-cool-dust-1": [],
    "pgbouncer=true&connection_limit=1": ["connection_limit"],
    "sslmode=require&supa=base-pooler.x": ["supa"],
    "schema=public&connection_limit=5&pool_timeout=10&connect_timeout=30": ["connection_limit", "pool_timeout"],
    "sslmode=verify-full&sslrootcert=system": [],
    "sslmode=no-verify": ["sslmode=no-verify"],
    "ssl=true": [],
    "uselibpqcompat=true&sslmode=require": [],
    "gssencmode=disable&keepalives=1&keepalives_idle=30&tcp_user_timeout=5000": [
        "keepalives",
        "keepalives_idle",
        "tcp_user_timeout",
    ],
    "target_session_attrs=read-write&load_balance_hosts=random": ["load_balance_hosts"],
    "application_name=shop&client_encoding=utf8&connect_timeout=0": ["application_name"],
}


@pytest.mark.parametrize(("query", "told"), VENDORS.items())
def test_what_vendors_print_is_taken_and_what_is_not_met_is_told(query, told):
    connection = parsed(query)
    assert [note.partition(" ")[0] for note in connection.notes] == told
    conninfo_to_dict(url_of(connection.for_libpq()))  # libpq knows all that it is given
    assert connection.for_asyncpg(behind_pooler=False).arguments["host"] == ["db.example.com"]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("gssencmode=require", "gssencmode can be disable or prefer: the worker's driver encrypts with TLS only"),
        ("require_auth=scram-sha-256", "require_auth cannot be used"),
        ("requirepeer=postgres", "requirepeer cannot be used"),
        ("target_session_attrs=standby", "target_session_attrs can be any or read-write or primary: crm-sync writes"),
        ("sslcertmode=require", "sslcertmode can be allow"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs"),
        ("hostaddr=10.0.0.1&sslmode=verify-full", "hostaddr cannot be used"),
        ("sslaccept=strict", "sslaccept can be accept_invalid_certs: it is Prisma's: instead, use sslmode=verify-full"),
        ("replication=database", "replication can be false"),
        ("client_encoding=latin1", "client_encoding can be"),
        ("pool_size=3", "the parameter pool_size is unknown to Postgres"),
        ("statement_timeout=5s", "options=-c%20statement_timeout%3D5s"),
        ("Sslmode=require", "the parameter Sslmode is unknown to Postgres"),
        ("service=shop", "service cannot be used"),
    ],
)
def test_what_cannot_be_met_and_what_nobody_knows_is_refused_by_name(query, why):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (its words are compared)
        parsed(query)
    assert why in str(refused.value)


def test_libpq_knows_every_parameter_that_it_is_given():
    for name, parameter in PARAMETERS.items():
        if parameter.of is not For.NEITHER:
            make_conninfo(**{name: "1"})


def test_asyncpg_gets_tls_in_a_url_and_all_else_by_name():
    query = "sslmode=verify-ca&sslrootcert=/etc/a%20b.pem&options=-c%20jit%3Doff&connect_timeout=3&krbsrvname=pg"
    got = parsed(query).for_asyncpg(behind_pooler=False)
    assert got.arguments == {
        "host": ["db.example.com"],
        "port": 5433,
        "user": "ada",
        "password": "secret",
        "database": "shop",
        "krbsrvname": "pg",
        "dsn": "postgresql://?sslmode=verify-ca&sslrootcert=%2Fetc%2Fa%20b.pem",
        "server_settings": {"options": "-c jit=off"},
    }
    assert got.timeout_s == 3


def test_several_hosts_have_a_port_each():
    arguments = ConnectionString.parse("postgresql://one,two:6543/shop").for_asyncpg(behind_pooler=False).arguments
    assert (arguments["host"], arguments["port"]) == (["one", "two"], [5432, 6543])


def test_prismas_schema_is_a_path_for_both_and_none_through_a_pooler():
    connection = parsed('schema=The%20"App"&options=-c%20jit%3Doff')
    options = r'-c jit=off -c search_path="The\ ""App"""'
    assert connection.for_libpq()["options"] == options
    assert connection.for_asyncpg(behind_pooler=False).arguments["server_settings"] == {"options": options}
    assert connection.for_asyncpg(behind_pooler=True).arguments["server_settings"] == {"options": "-c jit=off"}


def test_a_url_outweighs_its_service():
    service = {"host": "other", "user": "bob", "sslmode": "require", "dbname": "shop"}
    connection = ConnectionString.parse("postgresql://one?service=shop&user=ada", service)
    assert connection.parameters == {"host": "one", "user": "ada", "sslmode": "require", "dbname": "shop"}
    assert ConnectionString.parse(connection.url) == connection
