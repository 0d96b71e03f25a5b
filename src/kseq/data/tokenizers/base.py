"""The base class of all tokenizers."""

from __future__ import annotations

import abc
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from kseq.config.checks import check_boolean

Assets = Mapping[str, bytes]

# Half of a surrogate pair is not valid Unicode, and C++ libraries reject it.
_SURROGATES = re.compile("[\ud800-\udfff]")


class Tokenizer(abc.ABC):
    """Splits texts into tokens and joins tokens into texts.

    Two tokenizers are equal if they have the same class, config and assets. A tokenizer
    is immutable, can be pickled, and can be used by several threads at once.

    To write your own tokenizer, derive a class from this one, define `name`, `tokenize`
    and `detokenize`, and add the arguments of your constructor to `get_config`.
    Register the class with `register`: `get` then finds it by name, and vocabularies
    that were saved with it can be loaded.

    Args:
        lower_case: bool, whether to lower-case the tokens. Default: False.

    Raises:
        TypeError: if `lower_case` is not a boolean.

    Example:
        >>> from kseq.data import tokenizers
        >>> @tokenizers.register
        ... class Commas(tokenizers.Tokenizer):
        ...     name = "commas"
        ...
        ...     def tokenize(self, text):
        ...         return [token for token in text.split(",") if token]
        ...
        ...     def detokenize(self, tokens):
        ...         return ",".join(tokens)
        >>> tokenizers.get("commas").tokenize("a,b")
        ['a', 'b']
    """

    #: The name under which `get` finds the tokenizer.
    name: ClassVar[str]
    #: The constructor's argument that follows the name and a colon, if there is one.
    argument: ClassVar[str | None] = None
    #: The constructor's arguments that are bytes, which a config cannot hold.
    asset_names: ClassVar[tuple[str, ...]] = ()
    #: Whether `detokenize` restores the text, except for case and white space.
    reversible: ClassVar[bool] = True

    def __init__(self, *, lower_case: bool = False) -> None:
        self._lower_case = check_boolean("lower_case", lower_case)

    @abc.abstractmethod
    def tokenize(self, text: str) -> list[str]:
        """Splits a text into tokens, lower-cased if `lower_case` is True.

        Args:
            text: str.

        Returns:
            list of str without empty strings.
        """

    @abc.abstractmethod
    def detokenize(self, tokens: Iterable[str]) -> str:
        """Joins tokens into a text.

        Args:
            tokens: iterable of str. The token `<unk>` is kept as it is.

        Returns:
            str.
        """

    def normalize_reference(self, text: str) -> str:
        """Converts a reference to the form of detokenized outputs, to compare both.

        Args:
            text: str.

        Returns:
            str, the text itself, lower-cased if `lower_case` is True. If the tokenizer
            is not reversible: the text tokenized and detokenized.
        """
        if self.reversible:
            return text.lower() if self.lower_case else text
        return self.detokenize(self.tokenize(text))

    @property
    def lower_case(self) -> bool:
        """Whether tokens are lower-cased."""
        return self._lower_case

    @property
    def assets(self) -> dict[str, bytes]:
        """The constructor's arguments that are bytes, by name."""
        return {name: getattr(self, name) for name in self.asset_names}

    def get_config(self) -> dict[str, Any]:
        """Returns the config from which `get` rebuilds the tokenizer, with `assets`.

        Returns:
            dict that can be written as JSON: `name` and the constructor's arguments.
        """
        return {"name": self.name, "lower_case": self.lower_case}

    def __eq__(self, other: object) -> bool:
        """Returns whether both have the same class, config and assets."""
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return type(self) is type(other) and self._identity == other._identity

    def __hash__(self) -> int:
        """Returns a hash that agrees with `==`."""
        return hash(self._identity)

    def __repr__(self) -> str:
        """Returns the class and its arguments."""
        arguments = _constructor_arguments(self)
        if not self.lower_case:
            arguments.pop("lower_case", None)
        shown = [f"{key}={value!r}" for key, value in arguments.items()]
        shown += [f"{key}=<{len(data)} bytes>" for key, data in self.assets.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> Any:
        """Pickles config and assets: objects of other libraries may not pickle."""
        return _rebuild, (type(self), _constructor_arguments(self), self.assets)

    @property
    def _identity(self) -> tuple[Any, ...]:
        config = json.dumps(self.get_config(), sort_keys=True)
        return config, tuple(sorted(self.assets.items()))


def import_library(module: str, name: str, user: str) -> Any:
    """Imports an optional library, or raises an error with the pip command."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(
            f"{user} needs {name}, which is not installed: pip install 'kseq[text]'"
        ) from error


def replace_surrogates(text: str) -> str:
    """Replaces lone surrogates by U+FFFD, so that the text is valid Unicode."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _constructor_arguments(tokenizer: Tokenizer) -> dict[str, Any]:
    config = tokenizer.get_config()
    return {key: value for key, value in config.items() if key != "name"}


def _rebuild(cls: type[Tokenizer], config: dict[str, Any], assets: Assets) -> Tokenizer:
    return cls(**{**config, **assets})
