"""Requests and responses in RecordIO-protobuf, on the server and on the client.

`application/x-recordio-protobuf`: a request has a record with int32 ids `source` for
each source, its response a record with int32 ids `target` for each of them. Where there
is no output, the record has no ids, and its metadata is `{"error": "..."}`.

SageMaker's other formats, `application/json` and `application/jsonlines`, are those of
`kseq.serving.messages`. `FORMATS` holds all three, for `kseq.serving.app.build_app`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from kseq.data.vocabulary import Vocabulary, check_vocabulary
from kseq.sagemaker.records import (
    check_ids,
    encode_record,
    encode_without_end,
    read_records,
)
from kseq.serving.messages import FORMATS as JSON_FORMATS
from kseq.serving.messages import (
    Answer,
    Instance,
    MessageFormat,
    RequestError,
    dump_json,
    invalid_instance,
)

RECORDIO = "application/x-recordio-protobuf"


def encode_recordio_request(texts: Sequence[str], source_vocab: Vocabulary) -> bytes:
    """Encodes source texts as the body of a request, in RecordIO-protobuf.

    Args:
        texts: Sequence of str, the sources.
        source_vocab: `Vocabulary` of the sources. A token that it lacks becomes
            `<unk>`.

    Returns:
        The body, bytes.

    Raises:
        TypeError: If an argument has the wrong type.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import encode_recordio_request
        >>> len(encode_recordio_request(["a b", "b"], Vocabulary(["a", "b"]))) % 4
        0
    """
    check_vocabulary("source_vocab", source_vocab)
    rows = encode_without_end(source_vocab, list(texts))
    return b"".join(encode_record({"source": row}) for row in rows)


def decode_recordio_response(body: bytes, target_vocab: Vocabulary) -> list[str]:
    """Decodes the body of a response in RecordIO-protobuf to texts.

    Args:
        body: Body of the response.
        target_vocab: `Vocabulary` of the targets.

    Returns:
        List of str, one output for each source of the request.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the body is damaged, or has ids that the vocabulary lacks.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import decode_recordio_response
        >>> from kseq.sagemaker.records import encode_record
        >>> vocab = Vocabulary(["a", "b"])
        >>> decode_recordio_response(encode_record({"target": [5, 4]}), vocab)
        ['b a']
    """
    check_vocabulary("target_vocab", target_vocab)
    texts = []
    for position, features in read_records(io.BytesIO(body), "the response"):
        if "target" not in features:
            raise ValueError(f"{position}: the feature 'target' is missing.")
        check_ids(features["target"], target_vocab, position)
        names = target_vocab.ids_to_tokens(features["target"])
        texts.append(target_vocab.tokenizer.detokenize(names))
    return texts


def _read_recordio(body: bytes, source_vocab: Vocabulary) -> list[Instance]:
    instances = []
    try:
        for position, features in read_records(io.BytesIO(body), "The body"):
            ids = features.get("source")
            if ids is None:
                error = f"{position}: the feature 'source' is missing."
                instances.append(invalid_instance(error))
                continue
            try:
                check_ids(ids, source_vocab, "source")
            except ValueError as error:
                instances.append(invalid_instance(str(error)))
            else:
                instances.append(Instance(ids))
    except ValueError as error:
        raise RequestError(400, str(error)) from error
    return instances


def _write_recordio(
    _: Sequence[Instance], answers: Sequence[Answer], target_vocab: Vocabulary
) -> bytes:
    records = []
    for answer in answers:
        tokens = answer.output.tokens if answer.output else ()
        error = dump_json({"error": answer.error}).decode() if answer.error else ""
        ids = map(target_vocab.id, tokens)
        records.append(encode_record({"target": ids}, metadata=error))
    return b"".join(records)


_BINARY = {"schema": {"type": "string", "format": "binary"}}
FORMATS = (
    *JSON_FORMATS,
    MessageFormat(RECORDIO, _read_recordio, _write_recordio, _BINARY, _BINARY),
)
