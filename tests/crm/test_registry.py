"""Where a CRM is in the sources: adding one takes a folder and a line in the registry."""

import ast
from pathlib import Path

import crm_sync
from crm_sync.crm.registry import OWN

SOURCES = Path(crm_sync.__file__).parent


def names_in(path):
    """The CRMs that the code names in a string literal; names inside a sentence do not count."""
    constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {value for value in constants if value in OWN}


def test_the_name_of_a_crm_stands_in_its_folder_and_in_the_registry():
    found = {path.relative_to(SOURCES).as_posix(): names for path in SOURCES.rglob("*.py") if (names := names_in(path))}
    elsewhere = {path: names for path, names in found.items() if path.split("/")[0] != "sandbox"}
    examples = {f"api/{name}.py": {"brevo"} for name in ("openapi", "requests")}  # in the API's description
    assert elsewhere == {"crm/registry.py": {*OWN}} | {f"crm/{name}/client.py": {name} for name in OWN} | examples


def test_every_crm_tells_without_credentials_what_it_is_set_and_filled_with():
    for name, crm in OWN.items():
        assert crm.name == name
        assert crm.default_fields
        assert crm.settings is not None
        assert all(setting.startswith(f"{name}_") for setting in crm.settings.model_fields)
