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

    `examples[:100]` is the first hundred pairs, and an array of indices or of
    booleans picks pairs likewise.

    Args:
        source: integers of shape `(size, source_time)`: each row ended by `</s>`, then
            padded on the right.
        target: integers of shape `(size, target_time)`, likewise.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.

    Raises:
        TypeError: if a vocabulary is not a `Vocabulary`.
        ValueError: if the arrays do not agree in size, are empty, or hold a row that is
            not tokens, one `</s>` and padding.

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
        """Converts arrays of another numbering, such as those of Keras's examples.

        In such arrays number 0 is a symbol like any other; here it is padding. The
        symbols keep their order: the first becomes token 4, after the four special
        tokens. `start` and `end` become `<s>` and `</s>`, and a symbol named like a
        special token becomes that token. Each row is then ended by `</s>`.

        Args:
            source: one-hot vectors of shape `(samples, time, symbols)` and of any
                dtype, where a step of zeros is padding; or integer ids of shape
                `(samples, time)`.
            target: likewise, the whole targets: the decoder's inputs and outputs are
                made from them.
            symbols: list of str, the symbol of each number; a str, a character for
                each; or a dict from symbol to number. For both sides. Defaults to
                None: the numbers themselves, `"0"`, `"1"`, ...
            source_symbols: symbols of the sources only. Defaults to None: `symbols`.
            target_symbols: symbols of the targets only. Defaults to None: `symbols`.
            start: str or int, the symbol, or its number, that begins each target; it
                is dropped. Defaults to None: targets begin with their first symbol.
            end: str or int, the symbol that ends rows. Rows without it end with their
                last symbol. Defaults to None: none.
            padding: str or int, the symbol that fills rows up at their end; elsewhere
                in a row it stays a symbol. Defaults to None: all symbols count.

        Returns:
            `Examples`, with vocabularies that cut texts into characters where each
            symbol is one. `target_vocab.decode` turns the tokens of `model.generate`
            into text.

        Raises:
            TypeError: if a symbol is not a string.
            ValueError: if an array has another shape or dtype, is empty, holds a
                vector that is not one-hot or a number without a symbol; if a row goes
                on after its end; or if `start`, `end` or `padding` is no symbol.

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
        """Returns some of the pairs, padded as before.

        Args:
            rows: a slice, or a list or array of indices or of booleans.

        Returns:
            `Examples`.

        Raises:
            TypeError: if `rows` is a single number.
            ValueError: if no pair is left.
        """
        if not isinstance(rows, slice):
            picked = np.asarray(rows)
            if picked.ndim != 1:
                raise TypeError(
                    "`examples[...]` must be given a slice or a list of indices. "
                    f"Received: {rows!r}; for one pair write examples[i : i + 1]."
                )
            rows = picked
        source, target = self.source[rows], self.target[rows]
        if not len(source):
            raise ValueError(
                f"`examples[...]` must pick at least one of the {len(self)} pairs. "
                f"Received: {rows!r}."
            )
        return Examples(source, target, self.source_vocab, self.target_vocab)

    def source_texts(self) -> list[str]:
        """Returns the sources as strings, decoded now."""
        return self.source_vocab.decode(self.source)

    def target_texts(self) -> list[str]:
        """Returns the targets as strings, decoded now."""
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
        """Returns the pairs as a `tf.data.Dataset`, each batch trimmed to its longest.

        The order of an epoch is `kseq.data.batches.epoch_order(size, seed, epoch)`,
        whatever TensorFlow's seed. An epoch is counted when a pass comes to its last
        batch, so epoch k of `fit` is epoch `initial_epoch + k`: a pass given up
        midway, such as the batch that `fit` looks at before it starts, is read again
        in the same order. `evaluate` and a loop of your own count too. Two iterators
        that start at the same time read the same epoch.

        Args:
            batch_size: int, pairs a batch.
            shuffle: bool, whether every epoch has an order of its own. Defaults to
                True.
            seed: int, together with the epoch it decides the order. Defaults to 0.
            drop_remainder: bool, whether a smaller last batch is left out. Defaults
                to False.
            repeat: bool, whether the dataset is endless, epoch after epoch; then each
                iterator starts at `initial_epoch`, and `fit` needs `steps_per_epoch`.
                Defaults to False.
            initial_epoch: int, the epoch that comes first: to go on with a run, pass
                `fit` the same number. Defaults to 0.
            strategy: `tf.distribute.Strategy` or None: the one that the model is built
                under, so that each worker reads the rows of its own replicas only.
                Without it every worker reads the whole batch and drops the others'
                rows. Defaults to None.

        Returns:
            A `tf.data.Dataset` of `(inputs, targets)`: a dict of `encoder_inputs` and
            `decoder_inputs`, and the targets, all int32 of shape `(None, None)`; with a
            strategy a `tf.distribute.DistributedDataset` of the same, with the same
            batches, shared out.

        Raises:
            TypeError: if an argument has the wrong type.
            ValueError: if a number is out of range, or if `drop_remainder` leaves
                nothing.
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
        """Returns the pairs as a `keras.utils.PyDataset`, padded to the set's longest.

        The order within an epoch is `epoch_order(size, seed, epoch)`, where `epoch` is
        the number of `on_epoch_end` calls so far. Keras calls it once before the first
        epoch of every `fit` and `evaluate`, so epoch k of a first `fit` reads order
        k + 1; and `fit` visits the batches in a random order of its own unless it is
        given `shuffle=False`. Where the order must be exact, use `dataset`.

        Args:
            batch_size: int, pairs a batch; the last one may be smaller.
            shuffle: bool, whether every epoch has an order of its own. Defaults to
                True.
            seed: int, together with the epoch it decides the order. Defaults to 0.

        Returns:
            A `keras.utils.PyDataset` of `(inputs, targets)`, int32 arrays as `arrays`
            returns them.

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
    """Makes `Examples` from texts of your own, with their vocabularies.

    Args:
        sources: list of str, pandas Series or numpy array of str.
        targets: the same number of str, the i-th one belongs to the i-th source.
        tokenizer: for both sides, what `kseq.data.tokenizers.train` takes:
            `"whitespace"`, `"characters"`, `"spacy:de"`, `"moses:de"`, a dict or a
            `Tokenizer`; or `"sentencepiece:8000"` or `"bpe:8000"`, which each side
            trains on its own texts. Defaults to `"whitespace"`.
        source_tokenizer: the sources' own tokenizer, or None. Defaults to None.
        target_tokenizer: the targets' own tokenizer, or None. Defaults to None.
        source_vocab: `Vocabulary` or None, built from the sources where None; a
            vocabulary brings its own tokenizer. Defaults to None.
        target_vocab: `Vocabulary` or None, likewise. Defaults to None.
        min_frequency: int, tokens seen less often become `<unk>`. Defaults to 1.
        max_size: int or None, the most ordinary tokens of a built vocabulary.
            Defaults to None, no limit.
        shared_vocab: bool, whether one vocabulary is built from both sides, after one
            tokenizer is trained on both where that is needed. Defaults to False.
        lower_case: bool, whether the tokenizers lower-case. Defaults to False, as the
            tokenizers and vocabularies say.

    Returns:
        `Examples`. Tokens that a vocabulary lacks are `<unk>`.

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
            "`sources` and `targets` must hold at least one pair. Received: none."
        )
    check_boolean("shared_vocab", shared_vocab)
    source_cut = _tokenizer_of(
        "source", source_vocab, source_tokenizer, tokenizer, lower_case
    )
    target_cut = _tokenizer_of(
        "target", target_vocab, target_tokenizer, tokenizer, lower_case
    )
    limits: dict[str, Any] = {"min_frequency": min_frequency, "max_size": max_size}
    if shared_vocab:
        if source_vocab is not None or target_vocab is not None:
            raise ValueError(
                "`shared_vocab` must be False when a vocabulary is given; to share it, "
                "pass it as both `source_vocab` and `target_vocab`."
            )
        if source_cut != target_cut:
            raise ValueError(
                "`shared_vocab` must be False when the two sides are cut differently. "
                f"Received: {source_cut!r} for sources, {target_cut!r} for targets."
            )
        source_vocab = target_vocab = Vocabulary.build(
            sources + targets, source_cut, **limits
        )
    if source_vocab is None:
        source_vocab = Vocabulary.build(sources, source_cut, **limits)
    if target_vocab is None:
        target_vocab = Vocabulary.build(targets, target_cut, **limits)
    return Examples(
        source_vocab.encode(sources),
        target_vocab.encode(targets),
        source_vocab,
        target_vocab,
    )


def _tokenizer_of(
    side: str,
    vocab: Vocabulary | None,
    own: Identifier | None,
    common: Identifier,
    lower_case: bool,
) -> Tokenizer | UntrainedTokenizer:
    """Returns the tokenizer of one side: its vocabulary's, its own, or the common."""
    if vocab is None:
        return tokenizers.resolve(common if own is None else own, None, lower_case)
    check_vocabulary(f"{side}_vocab", vocab)
    given = vocab.tokenizer if own is None else own
    found = tokenizers.resolve(given, None, lower_case)
    if found != vocab.tokenizer:
        raise ValueError(
            f"`{side}_tokenizer` must be that of `{side}_vocab`, {vocab.tokenizer!r}, "
            f"or be left out. Received: {own!r}."
        )
    return vocab.tokenizer


def _check_rows(name: str, ids: npt.ArrayLike, vocab_size: int) -> Ids:
    """Returns `ids` as int32, or raises unless rows are tokens, `</s>`, padding."""
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
            f"`{name}` must lie in 0..{vocab_size - 1}, its vocabulary's range. "
            f"Received ids from {array.min()} to {array.max()}."
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
            f"`{name}` must hold rows of tokens, one </s> ({END}), then padding "
            f"({PAD}). Received: row {row}, {array[row].tolist()}; "
            "Examples.from_arrays converts arrays of another numbering."
        )
    return array
