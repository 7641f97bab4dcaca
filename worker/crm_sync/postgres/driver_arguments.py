"""What each driver gets from a URL. `crm_sync.core.connection_string` parses it; this module handles the files it names."""

import ssl
from collections.abc import Mapping
from typing import Any

from crm_sync.core.connection_parameters import FILES
from crm_sync.core.connection_string import SYSTEM, ConnectionString
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.driver_connection import Connection

CONNECT_TIMEOUT_S = 10.0
SETTING = "DATABASE_URL (or LISTEN_DATABASE_URL)"


def asyncpg_arguments(url: str, *, behind_pooler: bool = False) -> dict[str, Any]:
    """Arguments for asyncpg.connect and create_pool. server_settings contains only those of the URL.

    Raises ConfigurationError naming the file of a certificate or key that cannot be used.
    """
    connection = _parsed(url)
    of_url = connection.for_asyncpg(behind_pooler=behind_pooler)
    arguments = {
        "connection_class": Connection,
        "timeout": of_url.timeout_s or CONNECT_TIMEOUT_S,
        "server_settings": {},
        **of_url.arguments,
    }
    context = _context(of_url.tls)
    if of_url.trusts_system:
        arguments["ssl"] = context
        arguments["direct_tls"] = of_url.tls.get("sslnegotiation") == "direct"
    return arguments


def libpq_arguments(url: str) -> dict[str, Any]:
    """Arguments for psycopg.connect. Raises as asyncpg_arguments does."""
    connection = _parsed(url)
    arguments: dict[str, Any] = {"connect_timeout": round(CONNECT_TIMEOUT_S), **connection.for_libpq()}
    _context(connection.parameters)
    # The libpq in psycopg's wheel looks for them at their path on the machine where it was built.
    if arguments.get("sslrootcert") == SYSTEM and (authorities := ssl.get_default_verify_paths().cafile):
        arguments["sslrootcert"] = authorities
    return arguments


def _parsed(url: str) -> ConnectionString:
    try:
        return ConnectionString.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"{SETTING}: {error}") from None


def _context(tls: Mapping[str, str]) -> ssl.SSLContext | None:
    """A context that verifies the server as sslmode=verify-full does, from the files that are named; None if none is.

    Raises ConfigurationError for a missing or invalid file: otherwise a worker would retry forever.
    """
    if not any(name in tls for name in FILES):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "sslrootcert"
    try:
        if tls.get("sslrootcert") == SYSTEM:
            context.load_default_certs()
        elif "sslrootcert" in tls:
            context.load_verify_locations(cafile=tls["sslrootcert"])
        name = "sslcrl"
        if "sslcrl" in tls:
            context.load_verify_locations(cafile=tls["sslcrl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        name = "sslcert"
        # Without the name of a key, the drivers look for one in libpq's default place.
        if "sslcert" in tls and "sslkey" in tls:
            context.load_cert_chain(tls["sslcert"], tls["sslkey"], lambda: tls.get("sslpassword", ""))
    except OSError as error:
        # An SSLError has an errno too, but not one of the operating system's.
        why = "its content is not valid" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"{SETTING}: {name}: the file cannot be used: {why}") from error
    for name, attribute in (("ssl_min_protocol_version", "minimum_version"), ("ssl_max_protocol_version", "maximum_version")):
        if name in tls:
            setattr(context, attribute, ssl.TLSVersion[tls[name].replace(".", "_")])
    if ssl.HAS_ALPN:
        context.set_alpn_protocols(["postgresql"])
    return context
