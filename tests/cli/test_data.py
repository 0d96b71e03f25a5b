"""`kseq data`: the files that it writes, and its errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.cli.data import _GENERATED
from kseq.data import AdditionTask, CopyTask, Vocabulary, tasks
from kseq.sagemaker import read_recordio

from .conftest import Kseq, assert_one_line

SMALL = ("--train-size", 40, "--dev-size", 10)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split("\n")[:-1]


def test_the_defaults_of_copy_are_those_of_the_tutorial(
    kseq: Kseq, tmp_path: Path
) -> None:
    result = kseq("data", "copy", "--out", tmp_path / "data", "--json")
    parts = json.loads(result.out)["parts"]
    assert [parts[name]["pairs"] for name in parts] == [99_000, 1_000]
    files = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert files == ["dev.source", "dev.target", "train.source", "train.target"]
    train, dev = CopyTask().split(99_000, 1_000, 12)
    assert lines(tmp_path / "data/dev.source") == dev.source_texts()
    sources = lines(tmp_path / "data/train.source")
    assert sources[:100] == train[:100].source_texts()
    lengths = [len(source.split()) for source in sources]
    assert (min(lengths), max(lengths)) == (10, 30)
    assert lines(tmp_path / "data/train.target") == sources


@pytest.mark.parametrize("task", sorted(_GENERATED))
def test_every_line_of_a_task_has_its_answer(
    kseq: Kseq, tmp_path: Path, task: str
) -> None:
    assert kseq("data", task, "-o", tmp_path, *SMALL, "--test-size", 5).status == 0
    answer: Callable[[str], str] = getattr(tasks, _GENERATED[task].class_name)().answer
    for name, size in (("train", 40), ("dev", 10), ("test", 5)):
        sources = lines(tmp_path / f"{name}.source")
        assert lines(tmp_path / f"{name}.target") == [answer(text) for text in sources]
        assert len(sources) == size


@pytest.mark.parametrize("task", sorted(_GENERATED))
def test_the_defaults_are_those_of_the_task(task: str) -> None:
    made = getattr(tasks, _GENERATED[task].class_name)()
    defaults = {
        name: default for name, (default, _) in _GENERATED[task].options.items()
    }
    assert {name: getattr(made, name) for name in defaults} == defaults


@given(digits=st.integers(1, 4), terms=st.integers(2, 3))
def test_sums_with_fixed_width_have_one_width(
    tmp_path_factory: pytest.TempPathFactory, digits: int, terms: int
) -> None:
    from kseq.cli import main

    folder = tmp_path_factory.mktemp("sums")
    arguments = ["data", "addition", "-o", folder, "--train-size", 20, "--dev-size", 5]
    arguments += ["--digits", digits, "--terms", terms, "--fixed-width"]
    assert main([str(argument) for argument in arguments]) == 0
    task = AdditionTask(terms=terms, digits=digits)
    sources, targets = lines(folder / "dev.source"), lines(folder / "dev.target")
    assert {len(source) for source in sources} == {task.source_width}
    assert {len(target) for target in targets} == {task.target_width}
    assert [task.answer(source) for source in sources] == [t.strip() for t in targets]


def test_the_same_seed_writes_the_same_files(kseq: Kseq, tmp_path: Path) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        kseq("data", "reverse", "-o", tmp_path / folder, *SMALL, "--seed", seed)
    first, second, other = (
        (tmp_path / folder / "train.source").read_bytes() for folder in "abc"
    )
    assert first == second != other


def test_an_existing_file_is_replaced_only_with_overwrite(
    kseq: Kseq, tmp_path: Path
) -> None:
    (tmp_path / "dev.target").write_text("mine\n")
    arguments = ("data", "sort", "-o", tmp_path, *SMALL)
    assert_one_line(kseq(*arguments), 1, "dev.target", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["dev.target"]
    assert kseq(*arguments, "--overwrite").status == 0
    assert len(lines(tmp_path / "dev.target")) == 10


def test_options_may_come_from_a_file(kseq: Kseq, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train_size: 7\ndev_size: 2\nsymbols: 3\n")
    options = ("--config", tmp_path / "c.yaml", "--dev-size", 4)
    assert kseq("data", "copy", "-o", tmp_path / "out", *options).status == 0
    assert len(lines(tmp_path / "out/train.source")) == 7
    assert len(lines(tmp_path / "out/dev.source")) == 4
    symbols = set((tmp_path / "out/train.source").read_text().split())
    assert symbols == {"0", "1", "2"}


def test_an_incomplete_corpus_writes_nothing(kseq: Kseq, tmp_path: Path) -> None:
    result = kseq("data", "multi30k", "--data", tmp_path, "-o", tmp_path / "out")
    assert_one_line(result, 1, "train.de.gz")
    assert not (tmp_path / "out").exists()


def test_cmudict_is_written_without_a_missing_test_set(
    kseq: Kseq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kseq.data.corpora import public

    contents = {
        "cmudict-0.7b.train-dev-20-21": "READ  R EH D\nREAD(1)  R IY D\nDOG  D AO G\n",
        "cmudict-0.7b.train-dev-1-21": "DOG  D AO G\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    real = public.fetch

    def unverified(*arguments: Any, **options: Any) -> str:
        return real(*arguments, **{**options, "verify": False})

    monkeypatch.setattr(public, "fetch", unverified)
    result = kseq("data", "cmudict", "--data", tmp_path, "-o", tmp_path / "out")
    assert result.status == 0
    assert "test.source and test.target are not written" in result.err
    assert "1 left out: 1 of words in the development set" in result.err
    # With all pronunciations of its words.
    assert lines(tmp_path / "out/dev.target") == ["D AO G", "D AO G"]
    assert lines(tmp_path / "out/train.source") == ["READ", "READ"]
    assert lines(tmp_path / "out/train.target") == ["R EH D", "R IY D"]
    assert lines(tmp_path / "out/dev.source") == ["DOG", "DOG"]
    assert not (tmp_path / "out/test.source").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["copy", "prepare"]),
        (("kopy", "-o", "x"), ["kopy", "copy"]),
        (("copy",), ["-o FOLDER"]),
        (("copy", "-o", "x", "--digits", "3"), ["--digits"]),
        (("copy", "-o", "x", "--symbols", "0"), ["--symbols", "0"]),
        (("sort", "-o", "x", "--symbols", "2", "--max-length", "2"), ["at most 6"]),
        (("multi30k", "-o", "x", "--source-language", "fr"), ["fr", "de, en"]),
        (("prepare", "-o", "x"), ["-s FILE", "--corpus"]),
        (("prepare", "-o", "x", "-s", "y"), ["--source", "--target"]),
    ],
)
def test_a_usage_error_is_one_line(
    kseq: Kseq, arguments: tuple[str, ...], words: list[str]
) -> None:
    assert_one_line(kseq("data", *arguments), 2, *words)


def test_prepared_data_train_a_model(kseq: Kseq, texts: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    data = ("-s", texts / "train.source", "-t", texts / "train.target")
    result = kseq(
        *("data", "prepare", *data, "-o", prepared),
        *("--shard-size", 20, "--tokenizer", "characters", "--json"),
    )
    assert json.loads(result.out) == {
        "folder": str(prepared),
        "pairs": 60,
        "shards": 3,
        "dropped": 0,
        "truncated": 0,
        "source_vocabulary": 8,
        "target_vocabulary": 8,
    }
    trained = kseq(
        *("train", "--prepared", prepared, "-o", tmp_path / "run", "--quiet"),
        *("-vs", texts / "dev.source", "-vt", texts / "dev.target"),
        *("--encoder-direction", "forward", "--units", 8, "--embedding-dim", 8),
        *("--checkpoint-updates", 2, "--max-updates", 2),
    )
    assert trained.status == 0, trained.err
    vocab = (tmp_path / "run/vocab.source.json").read_bytes()
    assert vocab == (prepared / "vocab.source.json").read_bytes()
    found = json.loads(kseq("inspect", prepared, "--json").out)
    assert found["kind"] == "prepared"
    assert found["data"]["tokenizer"] == "characters"
    assert found["shards"]["number"] == 3
    assert found["vocabularies"]["source"]["first_tokens"][0] == " "


def test_prepare_never_replaces_a_run_or_other_files(
    kseq: Kseq, texts: Path, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    data = ("-s", texts / "dev.source", "-t", texts / "dev.target")
    for folder, word in ((run_folder, "training"), (tmp_path, "is not a model folder")):
        before = sorted(folder.iterdir())
        prepare = ("data", "prepare", *data, "-o", folder)
        assert_one_line(kseq(*prepare), 1, "--overwrite")
        assert_one_line(kseq(*prepare, "--overwrite"), 1, word)
        assert sorted(folder.iterdir()) == before


def parallel(folder: Path) -> list[Any]:
    flags: list[Any] = []
    for flag, text in (
        ("-s", "b b a\nc\n\n"),
        ("-t", "y x\nz z\nx\n"),
        ("-vs", "a d\n"),
        ("-vt", "x\n"),
    ):
        path = folder / f"text{flag}"
        path.write_text(text)
        flags += [flag, path]
    return flags


def test_recordio_writes_the_four_files_of_a_training_job(
    kseq: Kseq, tmp_path: Path
) -> None:
    result = kseq("data", "recordio", *parallel(tmp_path), "-o", tmp_path / "job")
    assert result.status == 0
    assert "train.rec: 2 pairs" in result.out
    assert "1 with an empty source" in result.err
    # By falling frequency, ties in reverse alphabetical order.
    vocabs = [
        Vocabulary.load(tmp_path / f"job/vocab.{side}.json") for side in ("src", "trg")
    ]
    assert [vocab.tokens[4:] for vocab in vocabs] == [("b", "c", "a"), ("z", "x", "y")]
    read = [
        list(read_recordio(tmp_path / f"job/{name}.rec", *vocabs))
        for name in ("train", "val")
    ]
    assert read == [[("b b a", "y x"), ("c", "z z")], [("a <unk>", "x")]]


def test_recordio_uses_limits_shared_and_given_vocabularies(
    kseq: Kseq, tmp_path: Path
) -> None:
    flags = ["data", "recordio", *parallel(tmp_path), "-o", tmp_path / "job"]
    assert kseq(*flags, "--shared-vocab", "--max-vocab-size", 3).status == 0
    shared = (tmp_path / "job/vocab.src.json").read_bytes()
    assert shared == (tmp_path / "job/vocab.trg.json").read_bytes()
    assert list(json.loads(shared))[4:] == ["z", "x", "b"]
    assert_one_line(kseq(*flags), 1, "job/train.rec", "exist")
    assert kseq(*flags, "--overwrite", "--min-frequency", 2).status == 0
    assert list(json.loads((tmp_path / "job/vocab.src.json").read_bytes()))[4:] == ["b"]
    vocab = tmp_path / "own.json"
    Vocabulary(["a"]).save(vocab)
    assert kseq(*flags, "--overwrite", "--source-vocab", vocab).status == 0
    assert Vocabulary.load(tmp_path / "job/vocab.src.json").tokens[4:] == ("a",)
    both = kseq(*flags, "--overwrite", "--source-vocab", vocab, "--shared-vocab")
    assert_one_line(both, 2, "--shared-vocab")
    none = kseq(*flags, "--max-vocab-size", 0, "--overwrite")
    assert_one_line(none, 2, "--max-vocab-size must be")
    assert_one_line(kseq(*flags[:4], "-o", tmp_path), 2, "-t FILE is required")
