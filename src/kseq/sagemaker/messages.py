"""Requests and responses of `/invocations`, in three formats of SageMaker's seq2seq.

- `application/json`: `{"instances": [{"data": "a text"}]}` is answered by
  `{"predictions": [{"target": "..."}]}`.
- `application/jsonlines`: `{"source": "a text"}` by `{"target": "..."}`, a line each.
- `application/x-recordio-protobuf`: records with int32 ids `source` by records with
  int32 ids `target`.

A request that cannot be read is refused whole. An instance that cannot be answered has
an error in its place, and the others their answers.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from kseq.data import Vocabulary
from kseq.sagemaker.recordio import check_ids, read_records, record_bytes
from kseq.translator import Translation

JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"

_BOOLEANS = {True: True, False: False, "true": True, "false": False}


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: A sentence for the client.
        retry_after: Seconds after which it may succeed. Default None: it will not.
    """

    def __init__(
        self, status: int, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Instance:
    """A source to translate.

    Attributes:
        source: Its text, or its ids without `</s>`.
        attention: Whether the attention matrix is asked for. Default False.
        error: Why it cannot be translated. Default: nothing.
    """

    source: str | list[int]
    attention: bool = False
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What becomes of an instance.

    Attributes:
        output: Its best output; None for an empty source, or after an error.
        error: Why there is none.
    """

    output: Translation | None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class MessageFormat:
    """One way to write requests and responses.

    Attributes:
        content_type: Its name.
        read: Function of a body to a list of `Instance`; raises `RequestError`.
        write: Function of instances, their answers and the vocabulary of the targets
            to a body.
    """

    content_type: str
    read: Callable[[bytes], list[Instance]]
    write: Callable[[Sequence[Instance], Sequence[Answer], Vocabulary], bytes]


def find_format(content_type: str | None) -> MessageFormat:
    """Returns the format of a request.

    Args:
        content_type: Its header; JSON where there is none.

    Raises:
        RequestError: If there is no such format, or its text is not in UTF-8.
    """
    name, _, parameters = (content_type or JSON).partition(";")
    found = _FORMATS.get(name.strip().lower())
    if found is None:
        raise RequestError(
            415,
            f"Content-Type must be one of {', '.join(_FORMATS)}. Received: "
            f"{content_type!r}.",
        )
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if key.strip().lower() == "charset" and charset not in ("utf-8", "utf8"):
            raise RequestError(
                415, f"The charset must be utf-8. Received: {charset!r}."
            )
    return found


def check_accept(accept: str | None, content_type: str) -> None:
    """Raises where a client does not take the response, which is as the request is.

    Args:
        accept: Its header `Accept`; anything where there is none.
        content_type: The format of the response.

    Raises:
        RequestError: If it does not.
    """
    taken = [
        each.partition(";")[0].strip().lower() for each in (accept or "").split(",")
    ]
    kind = content_type.partition("/")[0]
    if any(taken) and not {"*/*", f"{kind}/*", content_type} & set(taken):
        raise RequestError(
            406,
            f"A response has the format of its request, {content_type}. "
            f"Accept asks for {accept!r}.",
        )


def _read_json(body: bytes) -> list[Instance]:
    found = _parsed(body, "The body")
    instances = found.get("instances") if isinstance(found, dict) else None
    if not isinstance(instances, list):
        raise RequestError(
            400, 'The body must be a JSON object with a list of "instances".'
        )
    return [_json_instance(each) for each in instances]


def _json_instance(found: Any) -> Instance:
    if not isinstance(found, dict) or not isinstance(found.get("data"), str):
        return _bad('An instance must be a JSON object with the string "data".')
    configuration = found.get("configuration", {})
    if unknown := set(found) - {"data", "configuration"}:
        return _bad(f"An instance has data and configuration, no {min(unknown)!r}.")
    if not isinstance(configuration, dict):
        return _bad('"configuration" must be a JSON object.')
    if unknown := set(configuration) - {"attention_matrix"}:
        return _bad(
            f'"configuration" may hold "attention_matrix", but no {min(unknown)!r}.'
        )
    wanted = configuration.get("attention_matrix", False)
    if not isinstance(wanted, bool | str) or wanted not in _BOOLEANS:
        return _bad('"attention_matrix" must be "true" or "false".')
    return Instance(found["data"], _BOOLEANS[wanted])


def _write_json(
    instances: Sequence[Instance], answers: Sequence[Answer], _: Vocabulary
) -> bytes:
    predictions = []
    for instance, answer in zip(instances, answers, strict=True):
        prediction: dict[str, Any] = _target(answer)
        if instance.attention and not answer.error:
            prediction["matrix"] = _matrix(answer.output)
        predictions.append(prediction)
    return _dumped({"predictions": predictions})


def _read_lines(body: bytes) -> list[Instance]:
    lines = body.split(b"\n")
    if not lines[-1].strip():
        del lines[-1]
    return [_line_instance(line) for line in lines]


def _line_instance(line: bytes) -> Instance:
    try:
        found = _parsed(line, "A line")
    except RequestError as error:
        return _bad(str(error))
    if not isinstance(found, dict) or not isinstance(found.get("source"), str):
        return _bad('A line must be a JSON object with the string "source".')
    if unknown := set(found) - {"source"}:
        return _bad(f"A line has a source, no {min(unknown)!r}.")
    return Instance(found["source"])


def _write_lines(
    _: Sequence[Instance], answers: Sequence[Answer], __: Vocabulary
) -> bytes:
    return b"".join(_dumped(_target(answer)) + b"\n" for answer in answers)


def _read_recordio(body: bytes) -> list[Instance]:
    instances = []
    try:
        for where, features in read_records(io.BytesIO(body), "The body"):
            if "source" in features:
                instances.append(Instance(features["source"]))
            else:
                instances.append(_bad(f"{where}: it has no feature 'source'."))
    except ValueError as error:
        raise RequestError(400, str(error)) from error
    return instances


def _write_recordio(
    _: Sequence[Instance], answers: Sequence[Answer], vocab: Vocabulary
) -> bytes:
    return b"".join(
        record_bytes(
            {"target": map(vocab.id, answer.output.tokens if answer.output else ())},
            metadata=_dumped({"error": answer.error}).decode() if answer.error else "",
        )
        for answer in answers
    )


_FORMATS = {
    each.content_type: each
    for each in (
        MessageFormat(JSON, _read_json, _write_json),
        MessageFormat(JSON_LINES, _read_lines, _write_lines),
        MessageFormat(RECORDIO, _read_recordio, _write_recordio),
    )
}


def source_ids(instance: Instance, vocab: Vocabulary) -> list[int]:
    """Returns the ids of an instance's source, with `</s>`.

    Args:
        instance: `Instance` without an error.
        vocab: `Vocabulary` of the sources.

    Raises:
        ValueError: If it cannot be encoded.
    """
    if isinstance(instance.source, str):
        return [int(token) for token in vocab.encode([instance.source])[0] if token]
    check_ids(instance.source, vocab, "source")
    return [*instance.source, vocab.id("</s>")]


def _bad(error: str) -> Instance:
    return Instance("", error=error)


def _target(answer: Answer) -> dict[str, Any]:
    if answer.error:
        return {"error": answer.error}
    return {"target": answer.output.text if answer.output else ""}


def _matrix(output: Translation | None) -> list[list[float]]:
    """Returns weights (target tokens, source tokens), without those of `</s>`."""
    if output is None or output.attention is None:
        return []
    weights = output.attention[: len(output.tokens), :-1]
    rows: list[list[float]] = weights.astype(float).round(6).tolist()
    return rows


def _parsed(body: bytes, what: str) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except RecursionError:
        raise RequestError(400, f"{what} is nested too deeply.") from None
    except ValueError as error:  # not UTF-8, not JSON, or an integer without end
        raise RequestError(400, f"{what} is not JSON in UTF-8: {error}.") from None


def _dumped(found: Any) -> bytes:
    # As ASCII: half of a surrogate pair, which a JSON string may hold, is no UTF-8.
    return json.dumps(found).encode("ascii")
