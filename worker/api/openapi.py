"""The OpenAPI 3.1 document, made from the endpoints and the models of their documents.

`python -m worker.api.openapi FILE` writes it; `make schemas` does so for docs/schemas/openapi.json.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from triage.domain.scopes import MEANINGS
from worker.api.endpoint import JSON, Endpoint, Endpoints
from worker.api.problems import MEDIA_TYPE, PROBLEMS, STATUS, title_of
from worker.api.subjects import SUBJECTS
from worker.codes import Code
from worker.documents.problem import ProblemDocument

_REF: Final = "#/components/schemas/{model}"
_Key = tuple[type[Any], JsonSchemaMode]


def openapi(subjects: Sequence[Endpoints]) -> dict[str, Any]:
    """Returns the document as JSON types. Endpoints of another dialect, which has its own description, are left out."""
    subjects = [subject for subject in subjects if subject.dialect is PROBLEMS]
    endpoints = [endpoint for subject in subjects for endpoint in subject.declared]
    keys = [key for endpoint in endpoints for key in _models(endpoint)]
    keys.append((ProblemDocument, "serialization"))
    schemas, definitions = models_json_schema(list(dict.fromkeys(keys)), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        for endpoint in subject.declared:
            operation = {"tags": [subject.title], **_operation(endpoint, schemas)}
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skin photo triage",
            "version": "1",
            "description": "Send photos of patients' messages, read decisions and verdicts, collect retake requests.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "responses": {code.value: _problem(code, schemas) for code in STATUS},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key, an access token of this server, or a token of the identity provider. "
                    + " ".join(f"`{scope}`: {text}." for scope, text in MEANINGS.items()),
                }
            },
        },
    }


def _models(endpoint: Endpoint) -> Iterator[_Key]:
    for model in (endpoint.body, endpoint.query, *endpoint.bodies.values()):
        if model is not None:
            yield model, "validation"
    for document in (endpoint.answers, *endpoint.errors.values()):
        if document is not None:
            yield document, "serialization"


def _operation(endpoint: Endpoint, schemas: dict[_Key, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": (endpoint.handler.__doc__ or "").partition("\n")[0],
    }
    if endpoint.scope is not None:
        operation["description"] = f"Scope: `{endpoint.scope}`."
    if parameters := [*_path_parameters(endpoint), *_query_parameters(endpoint)]:
        operation["parameters"] = parameters
    bodies = {JSON: endpoint.body} if endpoint.body else endpoint.bodies
    if bodies:
        content = {kind: {"schema": schemas[model, "validation"]} for kind, model in bodies.items()}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        str(endpoint.status): {"description": "Done.", "content": _answers(endpoint, schemas)},
        **{
            str(STATUS[code].value): {"$ref": f"#/components/responses/{code.value}"}
            for code in sorted(_codes(endpoint), key=lambda code: STATUS[code])
        },
    }
    for status, document in endpoint.errors.items():
        content = {JSON: {"schema": schemas[document, "serialization"]}}
        operation["responses"][str(status)] = {"description": "Refused.", "content": content}
    operation["security"] = [] if endpoint.scope is None else [{"bearer": []}]
    return operation


def _answers(endpoint: Endpoint, schemas: dict[_Key, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if endpoint.answers is not None:
        answers[JSON] = {"schema": schemas[endpoint.answers, "serialization"]}
    return answers | {kind: {"schema": {"type": "string"}} for kind in endpoint.also}


def _codes(endpoint: Endpoint) -> Iterator[Code]:
    """The failures of an endpoint."""
    yield from (Code.INVALID, Code.INTERNAL, Code.UNAVAILABLE)
    if endpoint.scope is not None:
        yield from (Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.TOO_MANY_REQUESTS)
    if endpoint.parts or endpoint.reads_body:
        yield Code.NOT_FOUND
    if endpoint.reads_body:
        yield from (Code.TIMED_OUT, Code.TOO_LARGE, Code.UNSUPPORTED_TYPE)


def _problem(code: Code, schemas: dict[_Key, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": f"{title_of(STATUS[code])} (`{code}`)",
        "content": {MEDIA_TYPE: {"schema": schemas[ProblemDocument, "serialization"]}},
    }
    if code in {Code.UNAVAILABLE, Code.TOO_MANY_REQUESTS}:
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return response


def _path_parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, kind in endpoint.parts.items():
        schema = {"type": "string", "format": "uuid"} if kind is UUID else {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    if endpoint.query is None:
        return
    schema = endpoint.query.model_json_schema(ref_template=_REF)
    for name, of_field in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _plain(of_field)}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter: a parameter that is not given is left out, never null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return plain | choices[0] if len(choices) == 1 else plain


def text_of(document: dict[str, Any]) -> str:
    """The document as the text of its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the document into the file given as the only argument."""
    Path(sys.argv[1]).write_text(text_of(openapi(SUBJECTS)), encoding="utf-8")


if __name__ == "__main__":
    main()
