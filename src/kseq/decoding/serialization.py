"""Searches by name or config."""

from typing import Any

import keras

from kseq.config.checks import one_of
from kseq.decoding.beam import BeamSearch
from kseq.decoding.greedy import Greedy
from kseq.decoding.sampling import Sampling
from kseq.decoding.search import Search

SEARCHES: dict[str, type[Search]] = {
    "greedy": Greedy,
    "sampling": Sampling,
    "beam": BeamSearch,
}


def get(search: Any) -> Search:
    """Returns a search for a name, a config or an object.

    Args:
        search: `"greedy"`, `"sampling"` or `"beam"`, with default arguments; a dict of
            `class_name`, one of these names, and `config`, a dict of arguments; a dict
            made by `keras.saving.serialize_keras_object`; or a `Search`.

    Returns:
        A `Search`.

    Raises:
        ValueError: If `search` has another form.

    Example:
        >>> from kseq import decoding
        >>> decoding.get({"class_name": "beam", "config": {"beam_width": 3}}).beam_width
        3
    """
    message = (
        f"`search` must be {one_of(SEARCHES)}, a dict of "
        "`class_name` and `config`, or a kseq.decoding.Search."
    )
    if isinstance(search, Search):
        return search
    if isinstance(search, str) and search in SEARCHES:
        return SEARCHES[search]()
    name = search.get("class_name") if isinstance(search, dict) else None
    if isinstance(name, str) and name in SEARCHES:
        unknown = set(search) - {"class_name", "config"}
        if unknown:
            raise ValueError(f"{message} Received: also {sorted(unknown)}.")
        try:
            return SEARCHES[name](**search.get("config", {}))
        except TypeError as error:
            raise ValueError(f"{message} Received: {search!r}: {error}.") from error
    if isinstance(search, dict):
        try:
            restored = keras.saving.deserialize_keras_object(search)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{message} Received: {search!r}.") from error
        if isinstance(restored, Search):
            return restored
    raise ValueError(f"{message} Received: {search!r}.")
