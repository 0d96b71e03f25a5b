"""A small training run, shared by the tests, and a function to call the command."""

import dataclasses
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kseq import progress
from kseq.cli import main

UPDATES = 6
CHECKPOINT_UPDATES = 2
# Where Python's `str.splitlines` ends a line.
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a call of the command came to."""

    status: int
    out: str
    err: str


Kseq = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command prints does not depend on how long it takes."""
    monkeypatch.setattr(progress, "_LINE_INTERVAL", math.inf)


@pytest.fixture
def kseq(capfd: pytest.CaptureFixture[str]) -> Kseq:
    """Runs the command in this process; what it prints is captured."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(status, out, err)

    return run


def assert_one_line(result: Result, status: int, *words: str) -> None:
    """An error is an exit status and one line that names what is wrong."""
    assert result.status == status
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert re.match("kseq( [a-z0-9]+)*: error: ", lines[0])
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sources to copy; dev has rows of one source."""
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    for name, size in (("train", 60), ("dev", 12)):
        lines = [" ".join(rng.choices("012", k=rng.randint(1, 4))) for _ in range(size)]
        lines[-1] = lines[0]
        for side in ("source", "target"):
            path = folder / f"{name}.{side}"
            path.write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def run_folder(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three checkpoints."""
    return _train(texts, tmp_path_factory.mktemp("run") / "run", 0)


@pytest.fixture(scope="session")
def other_folder(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another training, on the same data, without attention."""
    folder = tmp_path_factory.mktemp("other") / "other"
    return _train(texts, folder, 1, "--cell", "gru")


def _train(texts: Path, folder: Path, seed: int, *options: str) -> Path:
    data = [
        text
        for flag, name in (
            ("-s", "train.source"),
            ("-t", "train.target"),
            ("-vs", "dev.source"),
            ("-vt", "dev.target"),
        )
        for text in (flag, str(texts / name))
    ]
    attention = [] if options else ["--attention", "dot"]
    status = main(
        [
            *("train", *data, "-o", str(folder), "--quiet", *attention, *options),
            *("--encoder-direction", "forward", "--units", "8"),
            *("--embedding-dim", "8", "--batch-size", "16", "--seed", str(seed)),
            *("--learning-rate", "0.02", "--metrics", "perplexity", "exact_match"),
            *("--checkpoint-updates", str(CHECKPOINT_UPDATES)),
            *("--max-updates", str(UPDATES)),
        ]
    )
    assert status == 0
    return folder


@pytest.fixture(scope="session")
def breaking_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose outputs are line breaks and nothing else."""
    import keras

    from kseq import Translator, build_seq2seq
    from kseq.data import Vocabulary

    keras.utils.set_random_seed(1)
    source = Vocabulary(list("ab"), "characters")
    target = Vocabulary(list(BREAKS), "characters")
    model = build_seq2seq(
        source_vocab_size=len(source),
        target_vocab_size=len(target),
        units=8,
        attention="dot",
    )
    folder = tmp_path_factory.mktemp("breaking") / "model"
    Translator(model, source, target).save(folder)
    return folder
