"""The JSON file of a vocabulary: one object that maps each token to its id."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from kseq.data.corpora.lines import Path
from kseq.special_tokens import SPECIAL_TOKENS
from kseq.storage.atomic_files import whole_file


def write(path: Path, ids: Mapping[str, int]) -> None:
    """Writes tokens and their ids; see `Vocabulary.save`."""
    text = json.dumps(ids, ensure_ascii=False, indent=0) + "\n"
    if pair := re.search("[\ud800-\udbff][\udc00-\udfff]", text):
        raise ValueError(
            "A token with a surrogate pair as two characters cannot be saved: "
            f"{pair[0]!r}. Decode the texts again, as UTF-16."
        )
    with whole_file(path) as temporary:
        # UTF-8 cannot encode a lone surrogate: write it as its JSON escape.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def read(path: Path) -> list[str]:
    """Returns the ordinary tokens in the order of their ids; see `Vocabulary.load`."""
    name = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        pairs = json.loads(data.decode("utf-8"), object_pairs_hook=_Pairs)
    except ValueError as error:
        raise ValueError(f"{name} is not a JSON file in UTF-8: {error}.") from error
    try:
        return _ordinary_tokens(pairs)
    except ValueError as error:
        raise ValueError(f"{name} is not a vocabulary: {error}") from error


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, including repeated keys, which a dict would drop."""


def _ordinary_tokens(pairs: Any) -> list[str]:
    if not isinstance(pairs, _Pairs):
        raise ValueError("it must hold one JSON object, token -> id.")
    by_id: dict[int, str] = {}
    tokens = set()
    for token, index in pairs:
        if isinstance(index, bool) or not isinstance(index, int):
            raise ValueError(f"the id of {token!r} must be an integer, not {index!r}.")
        if token in tokens:
            raise ValueError(f"the token {token!r} occurs twice.")
        if index in by_id:
            raise ValueError(
                f"the tokens {by_id[index]!r} and {token!r} share the id {index}."
            )
        tokens.add(token)
        by_id[index] = token
    for index, token in enumerate(SPECIAL_TOKENS):
        if by_id.get(index) != token:
            raise ValueError(
                f"the id {index} must belong to {token!r}, not to {by_id.get(index)!r}."
            )
    for index in range(len(by_id)):
        if index not in by_id:
            raise ValueError(
                f"its ids must run from 0 to {len(by_id) - 1} without a gap; "
                f"{index} is missing."
            )
    return [by_id[index] for index in range(len(SPECIAL_TOKENS), len(by_id))]
