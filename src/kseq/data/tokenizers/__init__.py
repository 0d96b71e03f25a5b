"""Tokenizers: split a text into tokens, and join tokens into a text.

Registered tokenizers have names, such as `"whitespace"` or `"moses:de"`. `get` returns
a tokenizer by its name, and `train` also trains it on texts where that is needed.
"""

from kseq.data.tokenizers.base import Tokenizer
from kseq.data.tokenizers.characters import CharacterTokenizer
from kseq.data.tokenizers.moses import MosesTokenizer
from kseq.data.tokenizers.registry import (
    Identifier,
    asset_names,
    get,
    register,
    resolve,
    train,
)
from kseq.data.tokenizers.sentencepiece import (
    SentencePieceTokenizer,
    UntrainedTokenizer,
)
from kseq.data.tokenizers.spacy import SpacyTokenizer
from kseq.data.tokenizers.whitespace import WhitespaceTokenizer

__all__ = [
    "CharacterTokenizer",
    "Identifier",
    "MosesTokenizer",
    "SentencePieceTokenizer",
    "SpacyTokenizer",
    "Tokenizer",
    "UntrainedTokenizer",
    "WhitespaceTokenizer",
    "asset_names",
    "get",
    "register",
    "resolve",
    "train",
]
