"""Requests and responses of `POST /invocations`.

- `application/json`: request `{"instances": [{"data": "a text"}]}`, response
  `{"predictions": [{"target": "..."}]}`.
- `application/jsonlines`: one line `{"source": "a text"}` per source, one line
  `{"target": "..."}` per output.

A request that cannot be parsed gets an HTTP error. In a request that can be parsed, an
invalid instance gets an error message in place of its output; the others are decoded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kseq.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from kseq.translator import Translation

JSON = "application/json"
JSON_LINES = "application/jsonlines"

_BOOLEANS = {True: True, False: False, "true": True, "false": False}


class RequestError(Exception):
    """A request that gets an HTTP error.

    Args:
        status: HTTP status.
        message: One sentence for the client.
        retry_after: Seconds after which the client may try again. Default: None, the
            same request fails again.
    """

    def __init__(
        self, status: int, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Instance:
    """A source to decode.

    Attributes:
        source: Its text, or its ids without `</s>`.
        attention: Whether to return the attention weights. Default: False.
        error: Why the instance is invalid. Default: "", it is valid.
    """

    source: str | list[int]
    attention: bool = False
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result for an instance.

    Attributes:
        output: The best output; None for an empty source and after an error.
        error: Why there is no output. Default: "", no error.
    """

    output: Translation | None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class MessageFormat:
    """A format of requests and responses.

    Attributes:
        content_type: Name of the format in the HTTP headers.
        read: Function of a body and the source vocabulary. Returns a list of
            `Instance`, or raises `RequestError`.
        write: Function of the instances, their answers and the target vocabulary.
            Returns a body.
        request: Media type object of OpenAPI that describes the request.
        response: Media type object of OpenAPI that describes the response.
    """

    content_type: str
    read: Callable[[bytes, Vocabulary], list[Instance]]
    write: Callable[[Sequence[Instance], Sequence[Answer], Vocabulary], bytes]
    request: dict[str, Any]
    response: dict[str, Any]


def find_format(
    content_type: str | None, formats: Sequence[MessageFormat]
) -> MessageFormat:
    """Returns the format of a request.

    Args:
        content_type: Value of its header `Content-Type`. None: the first format.
        formats: The supported formats.

    Raises:
        RequestError: If the format is not supported, or the charset is not UTF-8.
    """
    by_name = {each.content_type: each for each in formats}
    name, _, parameters = (content_type or formats[0].content_type).partition(";")
    message_format = by_name.get(name.strip().lower())
    if message_format is None:
        raise RequestError(
            415,
            f"Content-Type must be one of {', '.join(by_name)}. Received: "
            f"{content_type!r}.",
        )
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if key.strip().lower() == "charset" and charset not in ("utf-8", "utf8"):
            raise RequestError(415, f"charset must be utf-8. Received: {charset!r}.")
    return message_format


def check_accept(accept: str | None, content_type: str) -> None:
    """Raises unless the client accepts the format of the response.

    Args:
        accept: Value of the header `Accept`. None: any format is accepted.
        content_type: Format of the request, which is that of the response too.

    Raises:
        RequestError: If the client does not accept it.
    """
    accepted = [
        each.partition(";")[0].strip().lower() for each in (accept or "").split(",")
    ]
    family = content_type.partition("/")[0]
    if any(accepted) and not {"*/*", f"{family}/*", content_type} & set(accepted):
        raise RequestError(
            406,
            "Accept must include the format of the request, "
            f"{content_type}. Received: {accept!r}.",
        )


def dump_json(value: Any) -> bytes:
    """Encodes a value as JSON in ASCII.

    A JSON string may hold a lone surrogate, which UTF-8 cannot encode.
    """
    return json.dumps(value).encode("ascii")


def invalid_instance(error: str) -> Instance:
    """Returns the instance that stands for one that cannot be read."""
    return Instance("", error=error)


def _read_json(body: bytes, _: Vocabulary) -> list[Instance]:
    content = _parse_json(body, "The body")
    instances = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(instances, list):
        raise RequestError(
            400, 'The body must be a JSON object with a list "instances".'
        )
    return [_read_json_instance(each) for each in instances]


def _read_json_instance(content: Any) -> Instance:
    if not isinstance(content, dict) or not isinstance(content.get("data"), str):
        return invalid_instance(
            'An instance must be a JSON object with a string "data".'
        )
    configuration = content.get("configuration", {})
    if unknown := set(content) - {"data", "configuration"}:
        return invalid_instance(
            'An instance may have the keys "data" and "configuration". Received: '
            f"{min(unknown)!r}."
        )
    if not isinstance(configuration, dict):
        return invalid_instance('"configuration" must be a JSON object.')
    if unknown := set(configuration) - {"attention_matrix"}:
        return invalid_instance(
            '"configuration" may have the key "attention_matrix". Received: '
            f"{min(unknown)!r}."
        )
    attention = configuration.get("attention_matrix", False)
    if not isinstance(attention, bool | str) or attention not in _BOOLEANS:
        return invalid_instance('"attention_matrix" must be "true" or "false".')
    return Instance(content["data"], _BOOLEANS[attention])


def _write_json(
    instances: Sequence[Instance], answers: Sequence[Answer], _: Vocabulary
) -> bytes:
    predictions = []
    for instance, answer in zip(instances, answers, strict=True):
        prediction: dict[str, Any] = _prediction(answer)
        if instance.attention and not answer.error:
            prediction["matrix"] = _attention_matrix(answer.output)
        predictions.append(prediction)
    return dump_json({"predictions": predictions})


def _read_json_lines(body: bytes, _: Vocabulary) -> list[Instance]:
    lines = body.split(b"\n")
    if not lines[-1].strip():
        del lines[-1]
    return [_read_json_line(line) for line in lines]


def _read_json_line(line: bytes) -> Instance:
    try:
        content = _parse_json(line, "A line")
    except RequestError as error:
        return invalid_instance(str(error))
    if not isinstance(content, dict) or not isinstance(content.get("source"), str):
        return invalid_instance('A line must be a JSON object with a string "source".')
    if unknown := set(content) - {"source"}:
        return invalid_instance(
            f'A line may have the key "source". Received: {min(unknown)!r}.'
        )
    return Instance(content["source"])


def _write_json_lines(
    _: Sequence[Instance], answers: Sequence[Answer], __: Vocabulary
) -> bytes:
    return b"".join(dump_json(_prediction(answer)) + b"\n" for answer in answers)


def _prediction(answer: Answer) -> dict[str, Any]:
    if answer.error:
        return {"error": answer.error}
    return {"target": answer.output.text if answer.output else ""}


def _attention_matrix(output: Translation | None) -> list[list[float]]:
    """Returns the weights (target tokens, source tokens), without those of `</s>`."""
    if output is None or output.attention is None:
        return []
    weights = output.attention[: len(output.tokens), :-1]
    rows: list[list[float]] = weights.astype(float).round(6).tolist()
    return rows


def _parse_json(body: bytes, name: str) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except RecursionError:
        raise RequestError(400, f"{name} is nested too deeply.") from None
    except ValueError as error:  # not UTF-8, not JSON, or an integer that is too long
        raise RequestError(400, f"{name} is not JSON in UTF-8: {error}.") from None


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT = {"type": "string"}
_BOOLEAN = {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]}
_INSTANCE = _object(
    {"data": _TEXT, "configuration": _object({"attention_matrix": _BOOLEAN})}, "data"
)
_PREDICTION = _object(
    {"target": _TEXT, "matrix": _array(_array({"type": "number"})), "error": _TEXT}
)
FORMATS = (
    MessageFormat(
        JSON,
        _read_json,
        _write_json,
        {
            "schema": _object({"instances": _array(_INSTANCE)}, "instances"),
            "example": {"instances": [{"data": "a source"}]},
        },
        {"schema": _object({"predictions": _array(_PREDICTION)}, "predictions")},
    ),
    MessageFormat(
        JSON_LINES,
        _read_json_lines,
        _write_json_lines,
        {"schema": _TEXT, "example": '{"source": "a source"}\n'},
        {"schema": _TEXT},
    ),
)
