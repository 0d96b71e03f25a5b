"""Reading the data of a run: corpora, vocabularies, lengths."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kseq.config.data import DataSettings
from kseq.data import Examples, ShardedExamples, Vocabulary, write_shards
from kseq.saving import write_model_config
from kseq.storage.model_folder import ModelFolder
from kseq.training import training_data
from kseq.training.training_data import open_corpus, read_data

PAIRS = [("a b", "X Y"), ("b", "Y"), ("c c c c", "Z")]
HELD_OUT = [("b a", "Y X")]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes the texts, and returns the settings that specify them."""

    def files(**settings: Any) -> dict[str, Any]:
        for name, pairs in (("train", PAIRS), ("valid", HELD_OUT)):
            for side, texts in zip("st", zip(*pairs, strict=True), strict=True):
                path = tmp_path / f"{name}.{side}"
                path.write_text("".join(f"{text}\n" for text in texts))
        return {
            "source": [str(tmp_path / "train.s")],
            "target": [str(tmp_path / "train.t")],
            "validation_source": [str(tmp_path / "valid.s")],
            "validation_target": [str(tmp_path / "valid.t")],
            **settings,
        }

    return files


def texts(examples: Examples | ShardedExamples) -> list[tuple[str, str]]:
    assert isinstance(examples, Examples)
    sides = examples.source_texts(), examples.target_texts()
    return list(zip(*sides, strict=True))


def test_two_sides_of_parallel_text_are_read(write: Any) -> None:
    found = read_data(DataSettings(**write()))
    assert texts(found.examples) == PAIRS
    assert found.validation == (["b a"], ["Y X"])


@pytest.mark.parametrize("header", [True, False])
def test_columns_of_a_table_are_read(tmp_path: Path, header: bool) -> None:
    for name, pairs in (("train", PAIRS), ("valid", HELD_OUT)):
        rows = [f"{source}\t1\t{target}" for source, target in pairs]
        lines = ["de\tn\ten", *rows] if header else rows
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    columns = ("de", "en") if header else ("0", "2")
    settings = DataSettings(
        table=str(tmp_path / "train.tsv"),
        validation_table=str(tmp_path / "valid.tsv"),
        source_column=columns[0],
        target_column=columns[1],
        table_header=header,
    )
    found = read_data(settings)
    assert texts(found.examples) == PAIRS
    assert found.validation == (["b a"], ["Y X"])


def test_a_column_without_a_header_is_an_index() -> None:
    settings = DataSettings(table="t.tsv", source_column="de", table_header=False)
    with pytest.raises(ValueError, match=r"must be an index from 0. Received: 'de'"):
        open_corpus(settings)


def test_a_ctf_file_is_read_by_its_symbols(tmp_path: Path) -> None:
    for name, text in (("s", "a\nb\n"), ("t", "X\nY\n")):
        (tmp_path / f"{name}.symbols").write_text(text)
    (tmp_path / "train.ctf").write_text("0 |S0 0:1 |S1 1:1\n0 |S0 1:1\n")
    settings = DataSettings(
        ctf=str(tmp_path / "train.ctf"),
        validation_ctf=str(tmp_path / "train.ctf"),
        source_symbols=str(tmp_path / "s.symbols"),
        target_symbols=str(tmp_path / "t.symbols"),
    )
    found = read_data(settings)
    assert texts(found.examples) == [("a b", "Y")]
    assert found.validation == (["a b"], ["Y"])


@pytest.mark.parametrize("shared", [True, False])
def test_the_symbols_of_a_ctf_file_can_be_the_vocabularies(
    tmp_path: Path, shared: bool
) -> None:
    for name, symbols in (("s", "X b </s> a <s> Y"), ("t", "Z Y <s> </s> X")):
        (tmp_path / f"{name}.symbols").write_text("\n".join(symbols.split()) + "\n")
    (tmp_path / "train.ctf").write_text("0 |S0 3:1 |S1 0:1\n0 |S0 1:1\n")
    settings = DataSettings(
        ctf=str(tmp_path / "train.ctf"),
        validation_ctf=str(tmp_path / "train.ctf"),
        source_symbols=str(tmp_path / "s.symbols"),
        target_symbols=None if shared else str(tmp_path / "t.symbols"),
        symbols_vocab=True,
    )
    found = read_data(settings).examples
    assert texts(found) == [("a b", "X" if shared else "Z")]
    assert found.source_vocab.tokens[4:] == ("X", "b", "a", "Y")
    assert found.target_vocab.tokens[4:] == (
        ("X", "b", "a", "Y") if shared else ("Z", "Y", "X")
    )


@pytest.mark.parametrize(
    ("settings", "split", "wanted"),
    [
        ({"corpus": "cmudict"}, "validation", ("dev", {"folder": None})),
        ({"corpus": "cmudict", "data": "d"}, "test", ("test", {"folder": "d"})),
        (
            {"corpus": "multi30k"},
            "validation",
            ("val", {"source": "de", "target": "en", "folder": None}),
        ),
        (
            {"corpus": "multi30k", "source_language": "en", "target_language": "de"},
            "train",
            ("train", {"source": "en", "target": "de", "folder": None}),
        ),
    ],
)
def test_a_public_corpus_is_opened_by_the_names_of_its_splits(
    settings: Any, split: str, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(name: str, **keywords: Any) -> Any:
        return name, keywords

    monkeypatch.setattr(training_data, settings["corpus"], reader)
    assert open_corpus(DataSettings(**settings), split) == wanted


def test_prepared_data_is_opened_with_its_vocabularies(
    tmp_path: Path, write: Any
) -> None:
    folder = tmp_path / "prepared"
    vocabs = [Vocabulary.build(side) for side in zip(*PAIRS, strict=True)]
    write_shards(PAIRS, folder / "shards", *vocabs)
    write_model_config(ModelFolder(folder), *vocabs)
    settings = write(source=[], target=[], prepared=str(folder))
    found = read_data(DataSettings(**settings))
    assert isinstance(found.examples, ShardedExamples)
    assert len(found.examples) == 3
    assert found.examples.source_vocab == vocabs[0]
    with pytest.raises(ValueError, match=r"The prepared data in .* has no texts"):
        open_corpus(DataSettings(**settings))


def test_each_side_can_have_its_own_tokenizer(write: Any) -> None:
    settings = write(tokenizer="characters", target_tokenizer="whitespace")
    found = read_data(DataSettings(**settings)).examples
    assert found.source_vocab.tokenizer.tokenize("a b") == ["a", " ", "b"]
    assert found.target_vocab.tokenizer.tokenize("X Y") == ["X", "Y"]


def justified(write: Any, sources: list[str], **settings: Any) -> Examples:
    given = write(tokenizer="characters", **settings)
    for prefix in ("", "validation_"):
        for side, rows in (("source", sources), ("target", [" 3", "12", " 5"])):
            Path(given[f"{prefix}{side}"][0]).write_text("\n".join(rows) + "\n")
    examples = read_data(DataSettings(**given)).examples
    assert isinstance(examples, Examples)
    return examples


@pytest.mark.parametrize("settings", [{}, {"shared_vocab": True}])
def test_the_width_of_justified_texts_is_that_of_the_vocabulary(
    write: Any, settings: Any
) -> None:
    found = justified(write, [" 1+2", "10+2", " 4+1"], **settings)
    assert (found.source_vocab.width, found.target_vocab.width) == (4, 2)
    assert found.source_vocab.encode(["1+2"]).tolist() == [found.source[0].tolist()]
    assert found.target_texts() == ["3", "12", "5"]


def test_a_loaded_vocabulary_gets_the_width_too(write: Any, tmp_path: Path) -> None:
    Vocabulary(list("0123456789+ "), "characters").save(tmp_path / "v.json")
    rows = [" 1+2", "10+2", " 4+1"]
    found = justified(write, rows, source_vocab=str(tmp_path / "v.json"))
    assert found.source_vocab.width == 4
    Vocabulary(list("0123456789+"), "characters").save(tmp_path / "v.json")
    found = justified(write, rows, source_vocab=str(tmp_path / "v.json"))
    assert found.source_vocab.width is None


@pytest.mark.parametrize(
    "sources",
    [[" 1+2", "10+2", "4+1"], ["1+2 ", "10+2", " 4+1"], ["1+ 2", "10+2", "4+ 1"]],
    ids=["lengths", "left", "inside"],
)
def test_texts_that_are_not_all_justified_have_no_width(
    write: Any, sources: list[str]
) -> None:
    found = justified(write, sources)
    assert (found.source_vocab.width, found.target_vocab.width) == (None, 2)
    assert found.source_texts() == sources


def test_lower_case_applies_to_both_sides(write: Any) -> None:
    found = read_data(DataSettings(**write(lower_case=True))).examples
    assert "x" in found.target_vocab
    assert "X" not in found.target_vocab


def test_a_shared_vocabulary_has_the_tokens_of_both_sides(write: Any) -> None:
    found = read_data(DataSettings(**write(shared_vocab=True))).examples
    assert found.source_vocab is found.target_vocab
    assert {"a", "X"} < set(found.source_vocab)


def test_a_shared_vocabulary_needs_one_tokenizer(write: Any) -> None:
    settings = write(shared_vocab=True, source_tokenizer="characters")
    with pytest.raises(ValueError, match="'characters' and 'whitespace'"):
        read_data(DataSettings(**settings))


def test_rare_tokens_are_unknown(write: Any) -> None:
    found = read_data(DataSettings(**write(min_frequency=2))).examples
    assert "a" not in found.source_vocab
    assert found.source_vocab["c"] > 3
    found = read_data(DataSettings(**write(max_vocab_size=1))).examples
    assert len(found.source_vocab) == 5


def test_a_vocabulary_can_be_loaded(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    Vocabulary(["c", "q"]).save(path)
    found = read_data(DataSettings(**write(source_vocab=str(path)))).examples
    assert found.source_vocab == Vocabulary(["c", "q"])
    assert "X" in found.target_vocab


def test_a_resumed_run_keeps_its_vocabularies(write: Any, tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    vocab = Vocabulary(["c", "b", "a", "q"])
    write_model_config(folder, vocab, vocab)
    found = read_data(DataSettings(**write()), folder).examples
    assert found.source_vocab == vocab
    (tmp_path / "vocab.target.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.target\.json"):
        read_data(DataSettings(**write()), folder)


@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_the_log_counts_overlong_pairs(
    write: Any, overlong: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kseq"):
        found = read_data(DataSettings(**write(max_source_length=3, overlong=overlong)))
    wanted = PAIRS[:2] if overlong == "drop" else [*PAIRS[:2], ("c c c", "Z")]
    assert texts(found.examples) == wanted
    counts = {"drop": "1 dropped, 0 trunc", "truncate": "0 dropped, 1 trunc"}
    assert f"{counts[overlong]}ated; longest source 4, longest target 2" in caplog.text


def test_empty_validation_data_is_refused(write: Any, tmp_path: Path) -> None:
    settings = write()
    for side in "st":
        (tmp_path / f"valid.{side}").write_text("")
    with pytest.raises(ValueError, match="validation data must hold a pair"):
        read_data(DataSettings(**settings))


def test_a_line_that_is_not_utf8_is_named_or_skipped(
    write: Any, tmp_path: Path
) -> None:
    settings = write()
    (tmp_path / "train.t").write_bytes(b"X Y\n\xff\nZ\n")
    with pytest.raises(ValueError, match=r"train\.t, line 2: not UTF-8"):
        read_data(DataSettings(**settings))
    found = read_data(DataSettings(**settings, on_invalid="skip")).examples
    assert texts(found) == [PAIRS[0], PAIRS[2]]


def test_settings_are_read_back_as_the_same_data(write: Any) -> None:
    settings = DataSettings(**write())
    again = DataSettings(**json.loads(json.dumps(settings.to_dict())))
    assert dataclasses.asdict(again) == dataclasses.asdict(settings)
