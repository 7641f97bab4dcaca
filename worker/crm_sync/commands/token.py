"""crm-sync token: a token for the console or the API."""

import hashlib
import re
import secrets

import click

SCOPES = ("read", "flip", "operate")


@click.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it allows; read if none is named.")
@click.option("--role", metavar="ROLE", help="The database role whose rights apply to its requests.")
def token(*, name: str, scopes: tuple[str, ...], role: str | None) -> None:
    """Makes a token called NAME, and prints it once, with the section for CONSOLE_TOKENS_FILE.

    The file holds its SHA-256 only. read shows everything with addresses masked; flip changes the status of contacts and reveals
    addresses; operate pauses, resumes and retries.

    \b
    Example:
      crm-sync token support --scope flip >> tokens.toml
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) or name == "console":
        raise click.BadParameter("expected 1 to 40 letters, digits, - and _, other than console", param_hint="NAME")
    made = secrets.token_urlsafe(24)
    allowed = ", ".join(f'"{scope}"' for scope in SCOPES if scope in {"read", *scopes})
    lines = [f"[{name}]", f'sha256 = "{hashlib.sha256(made.encode()).hexdigest()}"', f"scopes = [{allowed}]"]
    if role is not None:
        quoted = role.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'role = "{quoted}"')
    click.echo(f"The token, shown only once:\n\n    {made}\n\nIn the file that CONSOLE_TOKENS_FILE names:\n", err=True)
    click.echo("\n".join(lines))
