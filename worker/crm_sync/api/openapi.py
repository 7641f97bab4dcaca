"""The OpenAPI 3.1 document, made from the table of routes and the models that validate requests."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from crm_sync import __version__
from crm_sync.api.given import Problem
from crm_sync.api.handling import PROBLEM, STREAM
from crm_sync.api.references import LONGEST_TAKEN
from crm_sync.api.routes import PREFIX, Route

if TYPE_CHECKING:
    from pydantic import BaseModel

_LONGEST = {"key": LONGEST_TAKEN, "crm": 1_000}  # characters of a name in a path
_EXAMPLES = {"key": "4711", "crm": "brevo"}
_REFERENCE = "#/components/schemas/{model}"
_PROBLEMS = {
    "401": "No valid token",
    "403": "The token lacks a scope",
    "404": "No such CRM or contact",
    "409": "Not done: the detail says why",
    "413": "The body is too large",
    "415": "The body is not JSON",
    "422": "A parameter or the body is wrong",
    "500": "Something has to be fixed first",
    "503": "The database does not answer now",
}


def describe(routes: Iterable[Route], base: str = "") -> dict[str, Any]:
    """base: the path under which the API is served."""
    routes = list(routes)
    taken: list[type[BaseModel]] = [route.body for route in routes if route.body is not None]
    given: list[type[BaseModel]] = [*(route.answer for route in routes), Problem]
    models = [
        *((model, "validation") for model in dict.fromkeys(taken)),
        *((model, "serialization") for model in dict.fromkeys(given)),
    ]
    references, definitions = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas = definitions.get("$defs", {})
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(f"{PREFIX}{route.path}", {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crm-sync",
            "version": __version__,
            "description": "Contacts, their status at each CRM, and the CRMs' lanes.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base or "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                name: {"description": words, "content": {PROBLEM: {"schema": references[Problem, "serialization"]}}}
                for name, words in _PROBLEMS.items()
            },
        },
    }


def _operation(route: Route, references: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Needs the scope {route.scope.value}.",
        "parameters": [*_names(route), *_parameters(route)],
        "responses": {
            "200": {
                "description": "As asked",
                "content": {
                    "application/json": {"schema": references[route.answer, "serialization"]},
                    **({STREAM: {"schema": {"type": "string"}}} if route.stream is not None else {}),
                },
            },
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _PROBLEMS},
        },
    }
    if route.body is not None:
        schema = references[route.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.takes_idempotency_key:
        operation["parameters"].append({
            "name": "Idempotency-Key", "in": "header", "required": False,
            "description": "A request with the same key within a day is answered as the first was, and done once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        })  # fmt: skip
    return operation


def _names(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "example": _EXAMPLES[name],
            "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST[name]},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _parameters(route: Route) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema()
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    found = []
    for name, described in schema.get("properties", {}).items():
        plain = _inlined({key: value for key, value in described.items() if key not in ("title", "description")}, definitions)
        one = {"name": name, "in": "query", "required": name in required, "schema": plain}
        if "description" in described:
            one["description"] = described["description"]
        found.append(one)
    return found


def _inlined(schema: Any, definitions: Any) -> Any:
    """Without references to the document's definitions, and without null, which a query cannot express."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        if "anyOf" in schema:
            kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
            if len(kinds) == 1:
                rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
                return {**_inlined(kinds[0], definitions), **rest}
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(one, definitions) for one in schema] if isinstance(schema, list) else schema
