"""Pairs of texts as padded ids, ready for `fit`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer, check_texts
from kseq.data import tokenizers
from kseq.data.batches import Batch, make_batch, pairs_dataset, row_lengths
from kseq.data.keras_arrays import Side, Symbol, Symbols
from kseq.data.tokenizers import Identifier, Tokenizer, UntrainedTokenizer
from kseq.data.vocabulary import Ids, Vocabulary, check_vocabulary
from kseq.special_tokens import END, PAD, START

if TYPE_CHECKING:
    import keras
    import pandas as pd
    import tensorflow as tf


class Examples:
    """Pairs of a source and a target, as rows of ids.

    `examples[:100]` returns the first hundred pairs. An array of indices or booleans
    selects pairs, too.

    Args:
        source: integers of shape `(size, source_time)`, each row ended by `</s>` and
            padded on the right.
        target: integers of shape `(size, target_time)`, with rows of the same form.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.

    Raises:
        TypeError: if a vocabulary is not a `Vocabulary`.
        ValueError: if the arrays differ in size or are empty, or if a row does not
            consist of tokens, one `</s>` and padding.

    Example:
        >>> from kseq.data import from_pairs
        >>> examples = from_pairs(["a b", "b"], ["x", "y z"])
        >>> examples.source
        array([[5, 4, 3],
               [4, 3, 0]], dtype=int32)
        >>> inputs, targets = examples.arrays()
        >>> inputs["decoder_inputs"]
        array([[2, 4, 0],
               [2, 5, 6]], dtype=int32)
    """

    def __init__(
        self,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        source_vocab: Vocabulary,
        target_vocab: Vocabulary,
    ) -> None:
        check_vocabulary("source_vocab", source_vocab)
        check_vocabulary("target_vocab", target_vocab)
        self.source = _check_rows("source", source, len(source_vocab))
        self.target = _check_rows("target", target, len(target_vocab))
        if len(self.source) != len(self.target):
            raise ValueError(
                "`source` and `target` must have one row for each pair. Received: "
                f"{len(self.source)} and {len(self.target)} rows."
            )
        self.source_vocab = source_vocab
        self.target_vocab = target_vocab

    @classmethod
    def from_arrays(
        cls,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        symbols: Symbols | None = None,
        *,
        source_symbols: Symbols | None = None,
        target_symbols: Symbols | None = None,
        start: Symbol | None = None,
        end: Symbol | None = None,
        padding: Symbol | None = None,
    ) -> Examples:
        """Converts arrays with other ids, such as those of Keras's examples.

        In such arrays, 0 is an ordinary symbol; in kseq it is padding. The symbols keep
        their order: the first one becomes token 4, after the four special tokens.
        `start` and `end` become `<s>` and `</s>`, and a symbol with the name of a
        special token becomes that token. Each converted row ends with `</s>`.

        Args:
            source: one-hot vectors of shape `(samples, time, symbols)` and any dtype,
                where a step of zeros is padding; or integer ids of shape `(samples,
                time)`.
            target: array of the same form: the complete targets, from which kseq makes
                the decoder's inputs and outputs.
            symbols: the symbols of both sides: list of str in the order of their ids; a
                str with one character for each id; or a dict from symbol to id.
                Default: None, the ids as strings, `"0"`, `"1"`, ...
            source_symbols: the symbols of the sources. Default: None, `symbols`.
            target_symbols: the symbols of the targets. Default: None, `symbols`.
            start: str or int, the symbol at the start of each target, or its id. It is
                dropped. Default: None, targets have no start symbol.
            end: str or int, the symbol that ends rows, or its id. Rows without it end
                with their last symbol. Default: None, rows have no end symbol.
            padding: str or int, the symbol that pads rows at their end, or its id.
                Elsewhere in a row it is an ordinary symbol. Default: None, there is no
                padding symbol.

        Returns:
            `Examples`. Their vocabularies use the tokenizer `"characters"` if each
            symbol is a single character. `target_vocab.decode` converts the tokens of
            `model.generate` to text.

        Raises:
            TypeError: if a symbol is not a string.
            ValueError: if an array has another shape or dtype, is empty, or has a
                vector that is not one-hot or an id without a symbol; if a row has
                symbols after its end; or if `start`, `end` or `padding` is not a
                symbol.

        Example:
            >>> import numpy as np
            >>> from kseq.data import Examples
            >>> symbols = ["0", "1", "+", " ", "<end>"]
            >>> eye = np.eye(5)
            >>> source = eye[[[1, 2, 0, 4], [0, 2, 0, 4]]]  # (samples, time, symbols)
            >>> target = eye[[[3, 1, 4], [3, 0, 4]]]
            >>> examples = Examples.from_arrays(source, target, symbols, end="<end>")
            >>> examples.source
            array([[5, 6, 4, 3],
                   [4, 6, 4, 3]], dtype=int32)
            >>> examples.target_texts()
            [' 1', ' 0']
        """
        sides = [
            Side(name, array, symbols if own is None else own, start, end, padding)
            for name, array, own in (
                ("source", source, source_symbols),
                ("target", target, target_symbols),
            )
        ]
        vocabs = [Vocabulary(side.tokens, side.tokenizer) for side in sides]
        if vocabs[0] == vocabs[1]:
            vocabs[1] = vocabs[0]
        return cls(sides[0].ids, sides[1].ids, vocabs[0], vocabs[1])

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return len(self.source)

    def __repr__(self) -> str:
        """Returns a short description."""
        return (
            f"<Examples: {len(self)} pairs, source {self.source.shape}, "
            f"target {self.target.shape}>"
        )

    def __getitem__(self, rows: slice | npt.ArrayLike) -> Examples:
        """Returns some of the pairs, with the same padding.

        Args:
            rows: a slice, or a list or array of indices or booleans.

        Returns:
            `Examples`.

        Raises:
            TypeError: if `rows` is a single number.
            ValueError: if no pair is selected.
        """
        if not isinstance(rows, slice):
            indices = np.asarray(rows)
            if indices.ndim != 1:
                raise TypeError(
                    "`examples[...]` takes a slice or a list of indices. "
                    f"Received: {rows!r}; for one pair write examples[i : i + 1]."
                )
            rows = indices
        source, target = self.source[rows], self.target[rows]
        if not len(source):
            raise ValueError(
                f"`examples[...]` must select at least one of the {len(self)} pairs. "
                f"Received: {rows!r}."
            )
        return Examples(source, target, self.source_vocab, self.target_vocab)

    def source_texts(self) -> list[str]:
        """Decodes the sources."""
        return self.source_vocab.decode(self.source)

    def target_texts(self) -> list[str]:
        """Decodes the targets."""
        return self.target_vocab.decode(self.target)

    def frame(self) -> pd.DataFrame:
        """Returns the pairs as a DataFrame.

        Returns:
            pandas DataFrame with the string columns `source` and `target`.
        """
        import pandas as pd

        return pd.DataFrame(
            {"source": self.source_texts(), "target": self.target_texts()}
        )

    def arrays(self) -> Batch:
        """Returns the whole set as arrays, for `fit(*arrays, validation_split=0.3)`.

        Returns:
            A tuple `(inputs, targets)` of int32 arrays: `inputs` is a dict of
            `encoder_inputs`, `(size, source_time)`, and `decoder_inputs`,
            `(size, target_time)`; `targets` is `(size, target_time)`.
        """
        return make_batch(self.source, self.target)

    def dataset(
        self,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
        repeat: bool = False,
        initial_epoch: int = 0,
        strategy: tf.distribute.Strategy | None = None,
    ) -> tf.data.Dataset:
        """Returns a `tf.data.Dataset` of batches, each trimmed to its longest rows.

        The order of an epoch is `kseq.data.batches.epoch_order(size, seed, epoch)`,
        independent of TensorFlow's seed. An epoch counts when a pass reaches its last
        batch, so epoch k of `fit` is epoch `initial_epoch + k`. A pass that stops
        before, such as the one batch that `fit` reads before it starts, does not count.
        Passes of `evaluate` and of your own loops count, too. Two iterators that start
        at the same time read the same epoch.

        Args:
            batch_size: int, number of pairs per batch.
            shuffle: bool, whether to shuffle the pairs anew in each epoch. Default:
                True.
            seed: int, determines the order together with the epoch. Default: 0.
            drop_remainder: bool, whether to drop a smaller last batch. Default: False.
            repeat: bool, whether the dataset is endless, epoch after epoch. Each
                iterator then starts at `initial_epoch`, and `fit` needs
                `steps_per_epoch`. Default: False.
            initial_epoch: int, the first epoch. To resume a run, pass the same number
                to `fit`. Default: 0.
            strategy: `tf.distribute.Strategy` or None, the strategy that the model is
                built under. Each worker then only reads the rows of its own replicas.
                Without it, every worker reads the whole batch and drops the other rows.
                Default: None.

        Returns:
            A `tf.data.Dataset` of `(inputs, targets)`: a dict of `encoder_inputs` and
            `decoder_inputs`, and the targets, all int32 of shape `(None, None)`; with a
            strategy, a `tf.distribute.DistributedDataset` of the same batches.

        Raises:
            TypeError: if an argument has the wrong type.
            ValueError: if a number is out of range, or if `drop_remainder` drops all
                pairs.
        """
        return pairs_dataset(
            self.source,
            self.target,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            repeat=repeat,
            initial_epoch=initial_epoch,
            strategy=strategy,
        )

    def pydataset(
        self, batch_size: int, shuffle: bool = True, seed: int = 0
    ) -> keras.utils.PyDataset:
        """Returns a `keras.utils.PyDataset`, padded to the longest pair of the set.

        The order of an epoch is `epoch_order(size, seed, epoch)`, where `epoch` is the
        number of `on_epoch_end` calls so far. Keras calls it once before the first
        epoch of every `fit` and `evaluate`, so epoch k of the first `fit` reads order
        k + 1. Besides, `fit` shuffles the batches unless it gets `shuffle=False`. Use
        `dataset` if the order must be exact.

        Args:
            batch_size: int, number of pairs per batch. The last batch may be smaller.
            shuffle: bool, whether to shuffle the pairs anew in each epoch. Default:
                True.
            seed: int, determines the order together with the epoch. Default: 0.

        Returns:
            A `keras.utils.PyDataset` of `(inputs, targets)`, int32 arrays as from
            `arrays`.

        Raises:
            TypeError: if an argument has the wrong type.
            ValueError: if a number is out of range.
        """
        batch_size = check_integer("batch_size", batch_size, 1)
        seed = check_integer("seed", seed, 0)
        check_boolean("shuffle", shuffle)
        from kseq.data.pydataset import PairsPyDataset

        return PairsPyDataset(self.source, self.target, batch_size, shuffle, seed)


def from_pairs(
    sources: Iterable[str],
    targets: Iterable[str],
    tokenizer: Identifier = "whitespace",
    source_tokenizer: Identifier | None = None,
    target_tokenizer: Identifier | None = None,
    source_vocab: Vocabulary | None = None,
    target_vocab: Vocabulary | None = None,
    min_frequency: int = 1,
    max_size: int | None = None,
    shared_vocab: bool = False,
    lower_case: bool = False,
) -> Examples:
    """Makes `Examples` from texts, and builds their vocabularies.

    Args:
        sources: list of str, pandas Series or numpy array of str.
        targets: list of str, pandas Series or numpy array of str, one target for each
            source.
        tokenizer: the tokenizer of both sides, an identifier as for
            `kseq.data.tokenizers.train`: `"whitespace"`, `"characters"`, `"spacy:de"`,
            `"moses:de"`, a dict or a `Tokenizer`; or `"sentencepiece:8000"` or
            `"bpe:8000"`, which is trained on each side. Default: `"whitespace"`.
        source_tokenizer: the tokenizer of the sources. Default: None, `tokenizer`.
        target_tokenizer: the tokenizer of the targets. Default: None, `tokenizer`.
        source_vocab: `Vocabulary` of the sources, with its own tokenizer. Default:
            None, it is built from the sources.
        target_vocab: `Vocabulary` of the targets, with its own tokenizer. Default:
            None, it is built from the targets.
        min_frequency: int, the minimum number of occurrences; rarer tokens become
            `<unk>`. Default: 1.
        max_size: int or None, the maximum number of ordinary tokens of a vocabulary.
            Default: None, no limit.
        shared_vocab: bool, whether to build one vocabulary from both sides, with one
            tokenizer. Default: False.
        lower_case: bool, whether the tokenizers lower-case. Default: False, as the
            tokenizers and vocabularies say.

    Returns:
        `Examples`. Unknown tokens are `<unk>`.

    Raises:
        ImportError: if a library that a tokenizer needs is missing.
        TypeError: if a side is not a list of strings, or a vocabulary not a
            `Vocabulary`.
        ValueError: if the sides differ in length or are empty, or if options
            contradict each other.

    Example:
        >>> from kseq.data import from_pairs
        >>> train = from_pairs(
        ...     ["ab", "ba"], ["A B", "B A"], source_tokenizer="characters"
        ... )
        >>> train.source_vocab.tokens[4:], train.target_vocab.tokens[4:]
        (('a', 'b'), ('A', 'B'))
        >>> train[:1].target_texts()
        ['A B']
    """
    sources = check_texts("sources", sources)
    targets = check_texts("targets", targets)
    if len(sources) != len(targets):
        raise ValueError(
            "`sources` and `targets` must have the same length. Received: "
            f"{len(sources)} sources and {len(targets)} targets."
        )
    if not sources:
        raise ValueError(
            "`sources` and `targets` must contain at least one pair. Received: none."
        )
    check_boolean("shared_vocab", shared_vocab)
    source_resolved = _resolve_tokenizer(
        "source", source_vocab, source_tokenizer, tokenizer, lower_case
    )
    target_resolved = _resolve_tokenizer(
        "target", target_vocab, target_tokenizer, tokenizer, lower_case
    )
    limits: dict[str, Any] = {"min_frequency": min_frequency, "max_size": max_size}
    if shared_vocab:
        if source_vocab is not None or target_vocab is not None:
            raise ValueError(
                "`shared_vocab` must be False when a vocabulary is given; to share it, "
                "pass it as both `source_vocab` and `target_vocab`."
            )
        if source_resolved != target_resolved:
            raise ValueError(
                "`shared_vocab` must be False if the sides have different tokenizers. "
                f"Received: {source_resolved!r} for sources and {target_resolved!r} "
                "for targets."
            )
        source_vocab = target_vocab = Vocabulary.build(
            sources + targets, source_resolved, **limits
        )
    if source_vocab is None:
        source_vocab = Vocabulary.build(sources, source_resolved, **limits)
    if target_vocab is None:
        target_vocab = Vocabulary.build(targets, target_resolved, **limits)
    return Examples(
        source_vocab.encode(sources),
        target_vocab.encode(targets),
        source_vocab,
        target_vocab,
    )


def _resolve_tokenizer(
    side: str,
    vocab: Vocabulary | None,
    own: Identifier | None,
    common: Identifier,
    lower_case: bool,
) -> Tokenizer | UntrainedTokenizer:
    """Returns the tokenizer of a side: its vocabulary's, its own, or the common."""
    if vocab is None:
        return tokenizers.resolve(common if own is None else own, None, lower_case)
    check_vocabulary(f"{side}_vocab", vocab)
    identifier = vocab.tokenizer if own is None else own
    if tokenizers.resolve(identifier, None, lower_case) != vocab.tokenizer:
        raise ValueError(
            f"`{side}_tokenizer` must be the tokenizer of `{side}_vocab`, "
            f"{vocab.tokenizer!r}, or be left out. Received: {own!r}."
        )
    return vocab.tokenizer


def _check_rows(name: str, ids: npt.ArrayLike, vocab_size: int) -> Ids:
    """Returns `ids` as int32, or raises unless rows are tokens, `</s>` and padding."""
    array = np.asarray(ids)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"`{name}` must be integers of shape (size, time). Received: shape "
            f"{array.shape}, dtype {array.dtype}; Examples.from_arrays converts "
            "one-hot vectors."
        )
    if not len(array):
        raise ValueError(f"`{name}` must have at least one row. Received: none.")
    if array.size and (array.min() < 0 or array.max() >= vocab_size):
        raise ValueError(
            f"`{name}` must be in 0..{vocab_size - 1}, its vocabulary's range. "
            f"Received: ids from {array.min()} to {array.max()}."
        )
    array = array.astype(np.int32, copy=False)
    lengths = row_lengths(array)
    real = array != PAD
    ends = array == END
    last = np.arange(array.shape[1]) == lengths[:, None] - 1
    good = np.all((ends == last) & (array != START), axis=1) & (lengths > 0)
    # Padding inside a row would push the row's last token beyond its length.
    good &= np.all(real == (np.arange(array.shape[1]) < lengths[:, None]), axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"`{name}` must have rows of tokens, one </s> ({END}), then padding "
            f"({PAD}). Received: row {row}, {array[row].tolist()}; "
            "Examples.from_arrays converts arrays with other ids."
        )
    return array
