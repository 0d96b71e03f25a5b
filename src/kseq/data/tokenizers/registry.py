"""Tokenizers by name: `get`, `train`, `resolve`, and `register` for your own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from kseq.config.checks import check_boolean, one_of
from kseq.data.tokenizers.base import Assets, Tokenizer
from kseq.data.tokenizers.characters import CharacterTokenizer
from kseq.data.tokenizers.moses import MosesTokenizer
from kseq.data.tokenizers.sentencepiece import (
    SentencePieceTokenizer,
    UntrainedTokenizer,
)
from kseq.data.tokenizers.spacy import SpacyTokenizer
from kseq.data.tokenizers.whitespace import WhitespaceTokenizer

Identifier = str | Mapping[str, Any] | Tokenizer | UntrainedTokenizer

_TOKENIZERS: dict[str, type[Tokenizer]] = {
    cls.name: cls
    for cls in (
        WhitespaceTokenizer,
        CharacterTokenizer,
        SpacyTokenizer,
        MosesTokenizer,
        SentencePieceTokenizer,
    )
}
# Names of tokenizers that need training, and the kind of their training.
_TRAINED = {"sentencepiece": "unigram", "bpe": "bpe"}
_RESERVED = {*_TOKENIZERS, *_TRAINED}

_T = TypeVar("_T", bound=Tokenizer)


def register(cls: type[_T]) -> type[_T]:
    """Registers your own tokenizer under its `name`; a class decorator.

    Args:
        cls: class derived from `Tokenizer`, with a `name`.

    Returns:
        The class.

    Raises:
        TypeError: if `cls` is not such a class.
        ValueError: if `name` is the name of a tokenizer of kseq, or has a colon.
    """
    name = getattr(cls, "name", None)
    if not (isinstance(cls, type) and issubclass(cls, Tokenizer)) or not name:
        raise TypeError(
            "`cls` must be a class derived from Tokenizer, with a `name`. Received: "
            f"{cls!r}."
        )
    # Other names may be registered again, as when a notebook runs a cell again.
    if name in _RESERVED:
        raise ValueError(
            "`name` must differ from the names of kseq's tokenizers. Received: "
            f"{name!r}."
        )
    if ":" in name:
        raise ValueError(f"`name` must not contain a colon. Received: {name!r}.")
    _TOKENIZERS[name] = cls
    return cls


def get(identifier: Identifier, assets: Assets | None = None) -> Tokenizer:
    """Returns a tokenizer by its name or its config.

    Args:
        identifier: `"whitespace"`; `"characters"`; `"spacy:de"` or `"moses:de"`, with
            the code of a language; a dict of `name` and the arguments of the
            tokenizer's constructor, such as
            `{"name": "moses", "language": "de", "lower_case": True}`; or a `Tokenizer`,
            which is returned as it is.
        assets: dict of bytes or None, the arguments that a config cannot hold:
            `Tokenizer.assets`. Default: None.

    Returns:
        A `Tokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if the name is unknown, or if the tokenizer must be trained first.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.get("moses:de").tokenize("Guten Tag, z.B. Welt!")
        ['Guten', 'Tag', ',', 'z.B.', 'Welt', '!']
        >>> tokenizer = tokenizers.get({"name": "characters", "lower_case": True})
        >>> tokenizers.get(tokenizer.get_config(), tokenizer.assets) == tokenizer
        True
    """
    tokenizer = resolve(identifier, assets)
    if isinstance(tokenizer, UntrainedTokenizer):
        raise ValueError(
            f"`tokenizer` {identifier!r} must be trained on texts first. Use "
            "kseq.data.tokenizers.train(identifier, texts), or let Vocabulary.build, "
            "Vocabulary.from_files or from_pairs do it."
        )
    return tokenizer


def train(
    identifier: Identifier, texts: Iterable[str], lower_case: bool = False
) -> Tokenizer:
    """Returns a tokenizer by its name, trained on texts if it needs training.

    Args:
        identifier: an identifier as for `get`; or `"sentencepiece:8000"` or
            `"bpe:8000"`, with the number of pieces; or a dict such as `{"name": "bpe",
            "size": 8000, "character_coverage": 0.9995}`.
        texts: iterable of str. It is read once if the tokenizer needs training, and
            otherwise not at all.
        lower_case: bool, whether the tokenizer lower-cases. Default: False, the
            identifier decides.

    Returns:
        A `Tokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if the name is unknown, if `lower_case` is True and the given
            tokenizer does not lower-case, or if the texts do not suffice.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.train("bpe:6", ["a b ab"], lower_case=True).tokenize("AB")
        ['▁ab']
        >>> tokenizers.train("whitespace", []).tokenize("a b")
        ['a', 'b']
    """
    tokenizer = resolve(identifier, lower_case=lower_case)
    if isinstance(tokenizer, UntrainedTokenizer):
        return tokenizer.train(texts)
    return tokenizer


def resolve(
    identifier: Identifier, assets: Assets | None = None, lower_case: bool = False
) -> Tokenizer | UntrainedTokenizer:
    """Returns the tokenizer of an identifier, which may still need training.

    Args:
        identifier: an identifier as for `get` or `train`, or an `UntrainedTokenizer`.
        assets: dict of bytes or None, as for `get`. Default: None.
        lower_case: bool, as for `train`. Default: False.

    Returns:
        A `Tokenizer` or an `UntrainedTokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if the name is unknown, or if `lower_case` contradicts the
            identifier.
    """
    check_boolean("lower_case", lower_case)
    assets = dict(assets or {})
    if isinstance(identifier, Tokenizer | UntrainedTokenizer):
        if assets:
            raise ValueError(
                "`assets` must be left out where a tokenizer is given. Received: "
                f"{sorted(assets)}."
            )
        if lower_case and not identifier.lower_case:
            raise _case_error(identifier)
        return identifier
    config = _as_config(identifier)
    if lower_case and config.setdefault("lower_case", True) is not True:
        raise _case_error(identifier)
    name = config.pop("name")
    if name in _TRAINED and (name not in _TOKENIZERS or "size" in config):
        constructor: Any = UntrainedTokenizer
        needed_assets: tuple[str, ...] = ()
        fixed: dict[str, Any] = {"kind": _TRAINED[name]}
    else:
        constructor, fixed = _TOKENIZERS[name], {}
        needed_assets = constructor.asset_names
    # Bytes come as assets, never in a config; and the name decides the kind.
    parameters = inspect.signature(constructor).parameters
    allowed = set(parameters) - set(needed_assets) - set(fixed)
    if unknown := sorted(set(config) - allowed):
        raise ValueError(
            f"`tokenizer` {name!r} takes the arguments {sorted(allowed)}. Received: "
            f"{unknown} as well, in {identifier!r}."
        )
    if set(assets) != set(needed_assets):
        hint = ""
        if name in _TRAINED:
            hint = f" To train one, name it with a size, such as '{name}:8000'."
        raise ValueError(
            f"`tokenizer` {identifier!r} needs the assets {list(needed_assets)}. "
            f"Received: {sorted(assets)}.{hint}"
        )
    required = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key in allowed
    ]
    if missing := [key for key in required if key not in config]:
        raise ValueError(
            f"`tokenizer` {name!r} needs the arguments {required}. Received: "
            f"{identifier!r} without {missing}."
        )
    tokenizer: Tokenizer | UntrainedTokenizer = constructor(**config, **assets, **fixed)
    return tokenizer


def asset_names(identifier: str | Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the assets that `get` needs for a tokenizer.

    Args:
        identifier: str or dict, a tokenizer's name or config.

    Returns:
        tuple of str, empty for most tokenizers.

    Raises:
        TypeError: if `identifier` has another type.
        ValueError: if the name is unknown.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.asset_names({"name": "sentencepiece"})
        ('model',)
    """
    cls = _TOKENIZERS.get(_as_config(identifier)["name"])
    return () if cls is None else cls.asset_names


def _as_config(identifier: Any) -> dict[str, Any]:
    """Returns the config of a name or a dict, or raises if the name is unknown."""
    if isinstance(identifier, str):
        name, colon, value = identifier.partition(":")
        argument = _argument_name(name, name)
        if argument is None and colon:
            raise ValueError(f"{_choices()} Received: {identifier!r}.")
        if argument is None:
            return {"name": name}
        if not value:
            raise ValueError(
                f"`tokenizer` {name!r} needs a {argument}: "
                f"'{name}:{argument.upper()}'. Received: {identifier!r}."
            )
        if argument != "size":
            return {"name": name, argument: value}
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(
                f"`tokenizer` {name!r} needs a size in digits, as in '{name}:8000'. "
                f"Received: {identifier!r}."
            )
        return {"name": name, "size": int(value)}
    if not isinstance(identifier, Mapping):
        raise TypeError(
            f"{_choices()} Received: {identifier!r} of type "
            f"{type(identifier).__name__}."
        )
    config = dict(identifier)
    _argument_name(config.get("name"), identifier)
    return config


def _argument_name(name: Any, identifier: Any) -> str | None:
    """Returns the argument that follows the colon, or raises if `name` is unknown."""
    if isinstance(name, str) and name in _TRAINED:
        return "size"
    if isinstance(name, str) and name in _TOKENIZERS:
        return _TOKENIZERS[name].argument
    raise ValueError(
        f"{_choices()} Received: {identifier!r}; register your own tokenizer first, "
        "with kseq.data.tokenizers.register."
    )


def _choices() -> str:
    names = [
        name if cls.argument is None else f"{name}:{cls.argument.upper()}"
        for name, cls in _TOKENIZERS.items()
        if name not in _TRAINED
    ]
    names += [f"{name}:SIZE" for name in _TRAINED]
    return (
        f"`tokenizer` must be {one_of(names)}, a dict of `name` "
        "and arguments, or a Tokenizer."
    )


def _case_error(identifier: Any) -> ValueError:
    return ValueError(
        "`lower_case` must agree with the tokenizer. Received: lower_case=True with "
        f"{identifier!r}, which does not lower-case."
    )
