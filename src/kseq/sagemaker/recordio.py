"""Files of pairs in RecordIO-protobuf, the training format of SageMaker's seq2seq.

A record holds the ids of a source and of a target (see `kseq.sagemaker.records`). Their
tokens are in two JSON files, which `Vocabulary.load` reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import Path, check_files
from kseq.data.vocabulary import Vocabulary, check_vocabulary
from kseq.sagemaker.records import (
    CHUNK_BYTES,
    check_ids,
    encode_record,
    encode_without_end,
    read_records,
)
from kseq.storage.atomic_files import whole_file

_SIDES = ("source", "target")
_CHUNK_SIZE = 1024  # number of pairs encoded together


def read_recordio(
    paths: Path | Iterable[Path], source_vocab: Vocabulary, target_vocab: Vocabulary
) -> Corpus:
    """Reads pairs of sequences from RecordIO-protobuf files.

    A text is the tokens of one side, joined by spaces; the id 1 becomes `<unk>`.

    Args:
        paths: str or path, or an iterable of them: the files, read in order.
        source_vocab: `Vocabulary` of the sources, with the tokenizer `whitespace`.
        target_vocab: `Vocabulary` of the targets, with the tokenizer `whitespace`.

    Returns:
        A `Corpus`. Iterating over it raises ValueError if a file is damaged, or has ids
        that the vocabulary lacks or that stand for `<pad>`, `<s>` or `</s>`. The
        message names the file, the index of the record and its offset in bytes.

    Raises:
        TypeError: If an argument has the wrong type.
        OSError: If a file does not exist or is a folder.
        ValueError: If a vocabulary has another tokenizer.

    Example:
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import read_recordio, write_recordio
        >>> vocab = Vocabulary(["a", "b"])
        >>> write_recordio([("a b", "b"), ("c a", "a a")], "train.rec", vocab, vocab)
        2
        >>> list(read_recordio("train.rec", vocab, vocab))
        [('a b', 'b'), ('<unk> a', 'a a')]

    Reference:
        [Common data formats for training](https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html)
    """
    files = check_files("paths", paths)
    vocabs = _check_vocabs(source_vocab, target_vocab)

    def read_one(reading: Reading, file: str) -> Iterator[tuple[str, str]]:
        with open(file, "rb") as stream:
            shown = 0
            for position, features in read_records(stream, file):
                texts = []
                for side, vocab in zip(_SIDES, vocabs, strict=True):
                    if side not in features:
                        raise ValueError(
                            f"{position}: the feature {side!r} is missing."
                        )
                    ids = features[side]
                    check_ids(ids, vocab, f"{position}, {side}")
                    texts.append(" ".join(vocab.ids_to_tokens(ids)))
                yield texts[0], texts[1]
                if stream.tell() - shown > CHUNK_BYTES:
                    reading.add_progress(stream.tell() - shown)
                    shown = stream.tell()

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        for file in files:
            yield from read_one(reading, file)

    return Corpus(read, files)


def write_recordio(
    pairs: Corpus | Iterable[tuple[str, str]],
    path: Path,
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
) -> int:
    """Writes pairs of texts to a RecordIO-protobuf file.

    The file appears only when it is complete.

    Args:
        pairs: `Corpus` or iterable of pairs of str. Pairs with an empty side are
            dropped.
        path: str or path, the file to write. An existing file is replaced.
        source_vocab: `Vocabulary` of the sources. A token that it lacks becomes
            `<unk>`.
        target_vocab: `Vocabulary` of the targets. A token that it lacks becomes
            `<unk>`.

    Returns:
        int, the number of records written.

    Raises:
        TypeError: If an argument has the wrong type.
        OSError: If the file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import Vocabulary
        >>> from kseq.sagemaker import write_recordio
        >>> vocab = Vocabulary(["a", "b"])
        >>> write_recordio([("a b", "b"), ("a", " ")], "train.rec", vocab, vocab)
        1
        >>> Path("train.rec").stat().st_size % 4
        0
    """
    check_vocabulary("source_vocab", source_vocab)
    check_vocabulary("target_vocab", target_vocab)
    count = 0
    iterator = iter(pairs)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        while chunk := list(itertools.islice(iterator, _CHUNK_SIZE)):
            sources, targets = map(list, zip(*chunk, strict=True))
            rows = zip(
                encode_without_end(source_vocab, sources),
                encode_without_end(target_vocab, targets),
                strict=True,
            )
            for source, target in rows:
                if len(source) and len(target):
                    file.write(encode_record({"source": source, "target": target}))
                    count += 1
    return count


def _check_vocabs(*vocabs: Vocabulary) -> tuple[Vocabulary, ...]:
    for side, vocab in zip(_SIDES, vocabs, strict=True):
        check_vocabulary(f"{side}_vocab", vocab)
        if vocab.tokenizer.name != "whitespace":
            raise ValueError(
                f"`{side}_vocab` must have the tokenizer 'whitespace', since the "
                "tokens of a record are joined by spaces. Received: "
                f"{vocab.tokenizer.name!r}."
            )
    return vocabs
