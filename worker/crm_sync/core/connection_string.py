"""What each of the two drivers gets from DATABASE_URL: asyncpg, and for migrations and adoption psycopg."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crm_sync.core.connection_parameters import FILES, PARAMETERS, For
from crm_sync.core.postgres_url import parameters_of, url_of

SYSTEM = "system"  # value of sslrootcert: the authorities that the operating system trusts
DEFAULT_PORT = 5432

# Only in a URL: asyncpg has no arguments for them.
_TLS = (
    "sslmode",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
# Arguments of asyncpg with the same names.
_AS_THEY_ARE = ("user", "password", "passfile", "target_session_attrs", "krbsrvname", "gsslib")


@dataclass(frozen=True, slots=True)
class ForAsyncpg:
    """arguments: for asyncpg.connect. timeout_s: for connecting, None if not given. tls: the TLS parameters, by libpq's names.
    trusts_system: the server's certificate must be signed by an authority the operating system trusts, which the arguments cannot
    express.
    """

    arguments: Mapping[str, Any]
    timeout_s: float | None
    tls: Mapping[str, str]
    trusts_system: bool


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """parameters: the supported ones, by libpq's names. behind_pooler: the URL says that it goes through a transaction pooler.

    schema: where an unqualified table name is looked up, as in Prisma. notes: what the user should know.
    """

    parameters: Mapping[str, str]
    behind_pooler: bool = False
    schema: str | None = None
    notes: Sequence[str] = ()

    @classmethod
    def parse(cls, url: str, service: Mapping[str, str] | None = None) -> "ConnectionString":
        """service: the parameters that the service file gives for the service named in the URL. Those in the URL take precedence.

        Raises ValueError naming a parameter that is unknown or whose value is not supported.
        """
        said = parameters_of(url)
        if service is not None:
            said = {**service, **{name: value for name, value in said.items() if name != "service"}}
        given = _in_words_of_libpq(said)
        notes = []
        for name, value in given.items():
            if name not in PARAMETERS:
                raise ValueError(_unknown(name, url))
            PARAMETERS[name].require_supported(name, value)
            told = PARAMETERS[name].told
            if note := told.get(value) or told.get("*"):
                notes.append(f"{name} {note}")
        if said.get("sslmode") == "no-verify":
            notes.append("sslmode=no-verify is node-postgres's, and is treated as require: the server is not verified")
        parameters = {name: value for name, value in given.items() if PARAMETERS[name].of is not For.NEITHER}
        _check_numbers(parameters)
        _check_tls(parameters)
        return cls(parameters, given.get("pgbouncer") == "true", given.get("schema"), notes)

    @property
    def url(self) -> str:
        """The same string on its own, without a service."""
        extras = {"schema": self.schema or "", "pgbouncer": "true" if self.behind_pooler else ""}
        return url_of({**self.parameters, **{name: value for name, value in extras.items() if value}})

    @property
    def files(self) -> Mapping[str, str]:
        """Paths of certificates and keys, by parameter."""
        return {name: self.parameters[name] for name in FILES if self.parameters.get(name, SYSTEM) != SYSTEM}

    def for_libpq(self) -> dict[str, str]:
        """The parameters of psycopg.connect."""
        return {**self.parameters, **self._options(behind_pooler=False)}

    def for_asyncpg(self, *, behind_pooler: bool) -> ForAsyncpg:
        """behind_pooler: no schema can be set then, because a pooler ignores settings."""
        known = {name: value for name, value in self.parameters.items() if PARAMETERS[name].of is For.BOTH}
        arguments: dict[str, Any] = {name: known[name] for name in _AS_THEY_ARE if name in known}
        if "dbname" in known:
            arguments["database"] = known["dbname"]
        if hosts := known.get("hostaddr") or known.get("host"):
            arguments["host"] = hosts.split(",")
        if "port" in known:
            ports = [int(port) if port else DEFAULT_PORT for port in known["port"].split(",")]
            arguments["port"] = ports if len(ports) > 1 else ports[0]
        tls = {name: known[name] for name in _TLS if name in known}
        trusts_system = tls.get("sslrootcert") == SYSTEM
        if tls and not trusts_system:
            arguments["dsn"] = url_of(tls)
        if options := self._options(behind_pooler=behind_pooler):
            arguments["server_settings"] = options
        timeout_s = float(known.get("connect_timeout", 0)) or None
        return ForAsyncpg(arguments, timeout_s, tls, trusts_system)

    def _options(self, *, behind_pooler: bool) -> dict[str, str]:
        options = [self.parameters["options"]] if "options" in self.parameters else []
        if self.schema is not None and not behind_pooler:
            # Split as the server does: at whitespace that is not preceded by a backslash.
            path = '"' + self.schema.replace('"', '""') + '"'
            options.append("-c search_path=" + re.sub(r"([\\\s])", r"\\\1", path))
        return {"options": " ".join(options)} if options else {}


def _in_words_of_libpq(given: Mapping[str, str]) -> dict[str, str]:
    """Translates names that other programs use."""
    found = dict(given)
    if "database" in found:
        found.setdefault("dbname", found.pop("database"))
    if found.get("ssl") in ("true", "require", "no-verify"):
        found.setdefault("sslmode", "require")
    if found.get("sslmode") == "no-verify":
        found["sslmode"] = "require"
    return found


def _unknown(name: str, url: str) -> str:
    _, _, query = url.partition("?")
    if "@" in query or not re.fullmatch(r"[A-Za-z_]{1,40}", name):
        # It may be part of a password.
        return "the name of a parameter is unknown to Postgres; in the password of a URL, write ? as %3F and / as %2F"
    return (
        f"the parameter {name} is unknown to Postgres. Put a server setting into options, such as -c statement_timeout=5s, in a "
        "URL options=-c%20statement_timeout%3D5s"
    )


def _check_numbers(parameters: Mapping[str, str]) -> None:
    """The message names only the parameter, not its value: if a password is not escaped, part of it ends up where the port
    belongs.
    """
    ports = parameters.get("port", "").split(",")
    if any(port and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536) for port in ports):
        raise ValueError(
            "a port is not a number from 1 to 65535. In the password of a URL, write : as %3A, / as %2F, @ as %40, # as %23 and "
            "? as %3F"
        )
    hosts = parameters.get("hostaddr") or parameters.get("host", "")
    if len(ports) not in (1, len(hosts.split(","))):
        raise ValueError("the numbers of hosts and ports differ")
    if not re.fullmatch(r"[0-9]{0,6}", parameters.get("connect_timeout", "")):
        raise ValueError("connect_timeout is not a number of seconds")


def _check_tls(parameters: dict[str, str]) -> None:
    """The same rules as libpq."""
    if parameters.get("sslrootcert") == SYSTEM and parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full: otherwise any host's certificate would be accepted")
    if parameters.get("sslnegotiation") == "direct" and parameters.get("sslmode") not in ("require", "verify-ca", "verify-full"):
        raise ValueError("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    if "hostaddr" in parameters and parameters.get("sslmode") == "verify-full":
        raise ValueError(
            "hostaddr cannot be used with sslmode=verify-full: the worker's driver verifies the host that it connects to"
        )
