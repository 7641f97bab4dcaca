"""The parameters that DATABASE_URL may contain.

asyncpg, which the worker and most commands use, knows only some of libpq's parameters; psycopg, used for migrations and adoption,
is libpq. Vendors also print URLs for other programs, such as Prisma and node-postgres. One table says for each parameter which
driver gets it, which values are supported, and what the user should know, which `crm-sync check` prints. Unsupported values and
unknown parameters are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")


class For(Enum):
    """Which driver gets it."""

    BOTH = auto()
    LIBPQ = auto()  # asyncpg has no equivalent; the note says what that means
    NEITHER = auto()  # it belongs to another program, or is ours to decide


@dataclass(frozen=True, slots=True)
class Parameter:
    """only: the supported values; without it, any. why: why no other value is supported. told: what the user should know, by
    value; under * for any value.
    """

    of: For = For.BOTH
    only: Sequence[str] = ()
    why: str = ""
    told: Mapping[str, str] = field(default_factory=dict)

    def require_supported(self, name: str, value: str) -> None:
        """Raises ValueError that says which values are supported, or why none is."""
        if not self.only or value in self.only:
            return
        if self.only == ("",):
            raise ValueError(f"{name} cannot be used: {self.why}")
        why = f": {self.why}" if self.why else ""
        raise ValueError(f"{name} can be {' or '.join(self.only)}{why}")


def _libpq(told: str = "", *only: str, why: str = "") -> Parameter:
    return Parameter(For.LIBPQ, only, why, {"*": told} if told else {})


def _ignored(told: str) -> Parameter:
    return Parameter(For.NEITHER, told={"*": told})


def _refused(why: str) -> Parameter:
    return Parameter(For.NEITHER, ("",), why)


_BY_TLS_ONLY = "the worker's driver encrypts with TLS only: sslmode=require"
_KEEPALIVES = "applies to adopt and migrate only: a worker checks every few seconds that the server is still there"
_POOLS = "is Prisma's, and is ignored: the pool of a worker is as large as its lanes need"
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

PARAMETERS: Mapping[str, Parameter] = {
    # Where to connect, and as which role.
    "host": Parameter(),
    "hostaddr": Parameter(),
    "port": Parameter(),
    "dbname": Parameter(),
    "user": Parameter(),
    "password": Parameter(),
    "passfile": Parameter(),
    "target_session_attrs": Parameter(only=("any", "read-write", "primary"), why="crm-sync writes"),
    "load_balance_hosts": Parameter(
        For.LIBPQ, ("disable", "random"), "", {"random": "applies to adopt and migrate only: a worker tries the hosts in order"}
    ),
    # TLS.
    "sslmode": Parameter(only=("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    **dict.fromkeys((*FILES, "sslpassword"), Parameter()),
    "sslnegotiation": Parameter(only=("postgres", "direct")),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), Parameter(only=_TLS_VERSIONS)),
    "channel_binding": Parameter(
        For.LIBPQ,
        ("disable", "prefer", "require"),
        "",
        {
            "require": "is enforced by adopt and migrate only: the worker's driver has no channel binding. With "
            "sslmode=verify-full the server is verified anyway"
        },
    ),
    "sslcertmode": Parameter(For.LIBPQ, ("allow",), "the worker's driver sends a certificate if there is one"),
    "sslcompression": Parameter(For.NEITHER, ("0", "1")),
    "sslsni": Parameter(For.LIBPQ, ("0", "1"), "", {"0": "applies to adopt and migrate only: a worker always names the host"}),
    "sslcrldir": _refused("the worker's driver takes one file: sslcrl"),
    "sslkeylogfile": _refused("crm-sync writes no keys to files"),
    # Authentication.
    "require_auth": _refused(
        "the worker's driver uses the method that the server asks for. sslmode=verify-full verifies the server"
    ),
    "requirepeer": _refused("the worker's driver does not check who runs the server"),
    **dict.fromkeys(("scram_client_key", "scram_server_key"), _refused("the worker's driver takes a password only")),
    **dict.fromkeys(
        ("oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"),
        _refused("the worker's driver takes a password or a certificate"),
    ),
    "gssencmode": _libpq("", "disable", "prefer", why=_BY_TLS_ONLY),
    "gssdelegation": _libpq("", "0", why="the worker's driver does not delegate credentials"),
    **dict.fromkeys(("krbsrvname", "gsslib"), Parameter()),
    # The connection.
    "connect_timeout": Parameter(),
    "options": Parameter(),
    **dict.fromkeys(
        ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"), _libpq(_KEEPALIVES)
    ),
    "min_protocol_version": _libpq("", "3.0", why="the worker's driver supports 3.0 only"),
    "max_protocol_version": _libpq("", "3.0", "3.2", "latest"),
    "replication": Parameter(For.NEITHER, ("false", "off", "no", "0"), "crm-sync runs statements"),
    "client_encoding": Parameter(For.NEITHER, ("auto", "utf8", "UTF8", "utf-8", "UTF-8", "unicode"), "crm-sync uses UTF-8"),
    "application_name": _ignored("is ignored: sessions of crm-sync are called crm-sync"),
    "fallback_application_name": Parameter(For.NEITHER),
    "service": _refused("a service cannot name another service"),
    "servicefile": _refused("the file is named by PGSERVICEFILE"),
    # Of vendors and other programs.
    "schema": Parameter(For.NEITHER),
    "pgbouncer": Parameter(For.NEITHER, ("true", "false")),
    **dict.fromkeys(
        (
            *("connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size"),
            *("single_use_connections", "max_connection_lifetime", "max_idle_connection_lifetime"),
        ),
        _ignored(_POOLS),
    ),
    "sslaccept": Parameter(
        For.NEITHER, ("accept_invalid_certs",), "it is Prisma's: instead, use sslmode=verify-full and sslrootcert"
    ),
    "sslidentity": _refused("it is Prisma's: instead, use sslcert and sslkey"),
    "supa": _ignored("is Supabase's, and is ignored"),
    "uselibpqcompat": Parameter(For.NEITHER),
    "ssl": Parameter(For.NEITHER, ("true", "false", "require", "no-verify")),
}
