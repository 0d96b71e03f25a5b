"""`kseq train`: flags, files of settings, resuming, and how mistakes are told."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tensorflow as tf
import yaml

from kseq import Translator
from kseq.cli.main import COMMANDS, main
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.data import DataSettings
from kseq.config.presets import PRESETS
from kseq.config.training import TrainingSettings
from kseq.data import CopyTask
from kseq.training import RunInterruptedError, TrainingResult, run

FROM_DATA = ("source_vocab_size", "target_vocab_size", "source_feature_dim")
CLOCK = ["seconds", "tokens_per_second"]
SMALL = [
    *("--units", "4", "--embedding-dim", "4", "--cell", "simple_rnn"),
    *("--batch-size", "8", "--buckets", "0", "--show", "0"),
    *("--checkpoint-updates", "1", "--max-updates", "2"),
]

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that tell of the data."""
    folder = tmp_path_factory.mktemp("data")
    flags = []
    parts = CopyTask(symbols=4, min_length=1, max_length=3).split(24, 6, seed=0)
    for prefix, examples in zip(("", "v"), parts, strict=True):
        for side in ("source", "target"):
            path = folder / f"{prefix}{side}.txt"
            texts = getattr(examples, f"{side}_texts")()
            path.write_text("".join(f"{text}\n" for text in texts))
            flags += [f"-{prefix}{side[0]}", str(path)]
    return flags


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *files, *SMALL, "-o", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Trains nothing, and notes what training was asked for."""
    found: dict[str, Any] = {}

    def train_in(
        place: Any,
        examples: Any,
        texts: Any,
        model: Any,
        settings: Any,
        resumed: Any,
        **options: Any,
    ) -> TrainingResult:
        found.update(model=model, settings=settings, examples=examples)
        return TrainingResult(place.path, "nothing", 0, None)

    monkeypatch.setattr(run, "train_in", train_in)
    return found


@pytest.fixture
def refused(
    capsys: pytest.CaptureFixture[str],
) -> Callable[[list[str], int], str]:
    """Runs a command that fails; returns the one line it says."""

    def call(argv: list[str], status: int) -> str:
        capsys.readouterr()
        assert main(argv) == status
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        prog = f"kseq {argv[0]}" if argv[0] in COMMANDS else "kseq"
        assert line.startswith(f"{prog}: error: ")
        return line

    return call


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=CLOCK)


# What it does.


def test_two_files_and_a_name_make_a_model(trained: Path) -> None:
    assert list(metrics(trained)["updates"]) == [1, 2]
    assert len(Translator.load(trained).translate(["1 2"])) == 1


def test_it_says_what_it_does_on_stderr_alone(
    tmp_path: Path, files: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    assert main(["train", *files, *SMALL, "-o", folder, "--max-updates", "1"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "training: 24 pairs; none left out" in err
    assert "checkpoint 1, 1 updates" in err
    assert err.splitlines()[-1] == f"{folder}: best checkpoint 1, after 1 updates"


def test_the_record_of_a_run_makes_the_run_again(trained: Path, tmp_path: Path) -> None:
    settings = str(trained / "settings.yaml")
    again = tmp_path / "again"
    assert main(["train", "--config", settings, "-o", str(again), "--quiet"]) == 0
    assert metrics(again).equals(metrics(trained))
    assert (again / "settings.yaml").read_bytes() == Path(settings).read_bytes()


def test_a_model_of_justified_sums_takes_and_gives_plain_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    sizes = ["--train-size", "20", "--dev-size", "4"]
    assert main(["data", "addition", "-o", data, "--fixed-width", *sizes]) == 0
    flags = []
    for flag, name in (("-s", "train"), ("-vs", "dev")):
        flags += [flag, f"{data}/{name}.source"]
        flags += [flag.replace("s", "t"), f"{data}/{name}.target"]
    chosen = ["--tokenizer", "characters", "--metrics", "exact_match"]
    assert main(["train", *flags, *SMALL, *chosen, "-o", run, "--quiet"]) == 0
    translator = Translator.load(run)
    assert translator.source_vocab.width == 7
    assert translator.target_vocab.width == 4
    (tmp_path / "plain").write_text("325+78\n\n9+1\n")
    (tmp_path / "wide").write_text(" 325+78\n\n    9+1\n")
    outputs = []
    for name in ("plain", "wide"):
        capsys.readouterr()
        assert main(["translate", "-m", run, "-i", str(tmp_path / name)]) == 0
        outputs.append(capsys.readouterr().out.splitlines())
    assert outputs[0] == outputs[1] == translator.translate(["325+78", "", "9+1"])
    assert outputs[0] == [output.strip(" ") for output in outputs[0]]
    assert main(["inspect", run]) == 0
    assert "cut by characters, justified to 7" in capsys.readouterr().out


def test_resume_alone_takes_the_settings_of_the_folder(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert main(["train", "-o", str(folder), "--resume", "--quiet"]) == 0
    assert metrics(folder).equals(metrics(trained))
    more = ["--max-updates", "3", "--quiet"]
    assert main(["train", "-o", str(folder), "--resume", *more]) == 0
    assert list(metrics(folder)["updates"]) == [1, 2, 3]
    record = yaml.safe_load((folder / "settings.yaml").read_text())
    assert (record["max_updates"], record["units"]) == (3, 4)


def test_resuming_from_another_folder_finds_the_files_or_takes_their_new_paths(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    for folder in ("d", "moved", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    flags = dict(zip(files[::2], files[1::2], strict=True))
    here = {flag: Path("d", Path(path).name) for flag, path in flags.items()}
    for flag, path in flags.items():
        shutil.copy(path, here[flag])

    def call(files: dict[str, Path], updates: int) -> list[str]:
        named = [str(each) for item in files.items() for each in item]
        flags = ["-o", str(tmp_path / "run"), "--max-updates", str(updates), "--quiet"]
        return ["train", *named, *flags]

    assert main([*call(here, 1), *SMALL[:-2]]) == 0
    monkeypatch.chdir("elsewhere")
    assert main([*call({}, 2), "--resume"]) == 0
    for path in here.values():
        shutil.move(tmp_path / path, tmp_path / "moved" / path.name)
    assert "If the data has moved" in refused([*call({}, 3), "--resume"], 1)
    moved = {flag: Path("../moved", path.name) for flag, path in here.items()}
    assert main([*call(moved, 3), "--resume"]) == 0
    before = (tmp_path / "run/settings.yaml").read_text()
    assert str(tmp_path / "moved") in before
    Path("other.txt").write_bytes(moved["-vt"].read_bytes() + b"0\n")
    Path("source.txt").write_bytes(moved["-vs"].read_bytes() + b"0\n")
    other = {**moved, "-vs": Path("source.txt"), "-vt": Path("other.txt")}
    line = refused([*call(other, 4), "--resume"], 1)
    assert "The validation sources in 'source.txt' are not those that" in line
    assert (tmp_path / "run/settings.yaml").read_text() == before
    assert list(metrics(tmp_path / "run")["updates"]) == [1, 2, 3]


def test_a_start_that_failed_is_no_run_that_is_in_the_way(
    tmp_path: Path, files: list[str], asked: Any, refused: Any
) -> None:
    folder = str(tmp_path / "run")
    wrong = [flag.replace("source", "sauce") for flag in files]
    line = refused(["train", *wrong, "-o", folder], 1)
    assert "sauce.txt" in line
    assert main(["train", *files, "-o", folder, "--quiet"]) == 0
    assert asked["settings"] == TrainingSettings()


# Where its settings come from.


def test_a_flag_goes_before_a_file_and_a_file_before_a_preset(
    tmp_path: Path, files: list[str], asked: Any
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("units: 6\nembedding_dim: 5\nmetrics: [bleu, loss]\n")
    argv = ["train", *files, "-o", str(tmp_path / "run"), "--config", str(config)]
    preset = ["--preset", "sockeye-seqcopy", "--quiet"]
    assert main([*argv, *preset, "--units", "8"]) == 0
    assert asked["model"]["units"] == 8
    assert asked["model"]["embedding_dim"] == 5
    assert asked["settings"].metrics == ("bleu", "loss")
    for name, value in PRESETS["sockeye-seqcopy"].items():
        if name not in ("units", "embedding_dim") and "vocab_size" not in name:
            assert asked["model"][name] == value


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--bidirectional"], {"encoder_direction": "bidirectional"}),
        (["--encoder-layers", "2", "--layers", "2"], {"layers": 2}),
        (["--reverse-source"], {"reverse_source": True}),
        (["--no-reverse-source"], {"reverse_source": False}),
    ],
)
def test_flags_choose_the_architecture(
    tmp_path: Path, files: list[str], asked: Any, flags: Any, wanted: Any
) -> None:
    argv = ["train", *files, "-o", str(tmp_path / "run"), "--quiet", *flags]
    assert main(argv) == 0
    assert asked["model"] | wanted == asked["model"]


def test_flags_choose_how_it_trains(
    tmp_path: Path, files: list[str], asked: Any
) -> None:
    flags = [
        *("--teacher-forcing-ratio", "linear:100:0.5", "--learning-rate", "1e-2"),
        *("--metrics", "wer", "per", "--optimized-metric", "per"),
        *("--show-sources", "1 2", "3", "--max-seconds", "60", "--freeze", "encoder_*"),
        *("--gradient", "sum", "--clipvalue-per-token", "2.3"),
    ]
    argv = ["train", *files, "-o", str(tmp_path / "run"), "--quiet", *flags]
    assert main(argv) == 0
    assert asked["settings"] == TrainingSettings(
        teacher_forcing_ratio="linear:100:0.5",
        learning_rate=0.01,
        metrics=("wer", "per"),
        optimized_metric="per",
        show_sources=("1 2", "3"),
        max_seconds=60,
        freeze=("encoder_*",),
        gradient="sum",
        clipvalue_per_token=2.3,
    )


def test_a_ratio_is_a_number_too(tmp_path: Path, files: list[str], asked: Any) -> None:
    argv = ["train", *files, "-o", str(tmp_path / "run"), "--quiet"]
    assert main([*argv, "--teacher-forcing-ratio", "0.5"]) == 0
    assert asked["settings"].teacher_forcing_ratio in (0.5, "0.5")


def test_without_flags_everything_is_as_in_python(
    tmp_path: Path, files: list[str], asked: Any
) -> None:
    assert main(["train", *files, "-o", str(tmp_path / "run"), "--quiet"]) == 0
    assert asked["settings"] == TrainingSettings()
    sizes = {"source_vocab_size": 8, "target_vocab_size": 8}
    assert Seq2SeqConfig(**sizes, **asked["model"]) == Seq2SeqConfig(**sizes)


def test_several_files_of_a_side_are_one_corpus(
    tmp_path: Path, files: list[str], asked: Any
) -> None:
    twice = [*files[:2], files[1], *files[2:4], files[3], *files[4:]]
    assert main(["train", *twice, "-o", str(tmp_path / "run"), "--quiet"]) == 0
    assert len(asked["examples"]) == 48


# How mistakes are told.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output-folder", "x"], "--output-folder"),
        (["--units", "0"], "--units must"),
        (["--units", "many"], "units"),
        (["--metrics", "blue"], "--metrics must be one of"),
        (["--preset", "adding"], "--preset must be one of addition, "),
        (["--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["--optimizer", "sgd", "--beta-1", "0.5"], "'sgd' has no --beta-1"),
        (["--teacher-forcing-ratio", "cosine:9"], "--teacher-forcing-ratio"),
        (["--learning-rate", "0"], "--learning-rate must be a finite number"),
        (["--table", "t.tsv"], "Specify the training data with one of"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--dropout", "0.2"], "--dropout acts between layers"),
    ],
)
def test_mistakes_in_the_usage_exit_2_and_write_nothing(
    tmp_path: Path, files: list[str], refused: Any, flags: Any, message: str
) -> None:
    folder = tmp_path / "run"
    line = refused(["train", *files, *SMALL, "-o", str(folder), *flags], 2)
    assert message in line
    assert line.endswith("(see kseq train --help)")
    assert not folder.exists()


def test_data_must_be_told(refused: Any) -> None:
    assert "Specify the training data" in refused(["train", "-o", "run"], 2)


def test_a_folder_must_be_named(files: list[str], refused: Any) -> None:
    assert "-o FOLDER is required" in refused(["train", *files], 2)


def test_an_unknown_name_in_a_file_is_refused(
    tmp_path: Path, files: list[str], refused: Any
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("unitz: 6\n")
    argv = ["train", *files, "-o", str(tmp_path / "run"), "--config", str(config)]
    assert "unitz" in refused(argv, 2)


def test_a_run_is_not_replaced_unasked(
    trained: Path, files: list[str], refused: Any
) -> None:
    before = (trained / "model.keras").read_bytes()
    line = refused(["train", *files, *SMALL, "-o", str(trained)], 1)
    assert "exists already. Pass --resume to continue it, --overwrite to" in line
    assert (trained / "model.keras").read_bytes() == before


def test_resuming_with_other_settings_is_told_with_both_values(
    trained: Path, refused: Any
) -> None:
    argv = ["train", "-o", str(trained), "--resume", "--units", "6", "--seed", "1"]
    line = refused(argv, 1)
    assert "--units was 4, now 6; --seed was 0, now 1" in line
    assert "it may differ in device, " in line


def test_a_run_of_a_newer_kseq_is_refused(
    trained: Path, tmp_path: Path, refused: Any
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 9}))
    with (folder / "settings.yaml").open("a") as file:
        file.write("a_setting_of_tomorrow: 1\n")
    line = refused(["train", "-o", str(folder), "--resume"], 1)
    assert "Install a newer kseq" in line


def test_a_divergence_exits_1_with_the_reason(
    tmp_path: Path, files: list[str], refused: Any
) -> None:
    rate = ["--optimizer", "sgd", "--learning-rate", "1e6", "--global-clipnorm", "0"]
    argv = ["train", *files, *SMALL, "-o", str(tmp_path / "run"), "--quiet"]
    line = refused([*argv, *rate], 1)
    assert re.search(r"worse than guessing .* a learning rate of 1e\+06: lower", line)


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, files: list[str], refused: Any
) -> None:
    (tmp_path / "file").write_text("")
    line = refused(["train", *files, *SMALL, "-o", str(tmp_path / "file/run")], 1)
    assert "file/run" in line


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunInterruptedError(signal.SIGTERM), 143),
        (RunInterruptedError(signal.SIGINT), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_signal_shows_in_the_exit_status(
    tmp_path: Path,
    files: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(run, "train_in", interrupted)
    assert main(["train", *files, "-o", str(tmp_path / "run"), "--quiet"]) == status


def test_debug_shows_where_it_failed(
    trained: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *files, "-o", str(trained), "--debug"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last)")
    assert "kseq train: error:" in err.splitlines()[-1]


# The command itself.


def test_help_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help-all"]) == 0
    shown = capsys.readouterr().out
    for kind in (TrainingSettings, DataSettings, Seq2SeqConfig):
        for name in kind.__dataclass_fields__:
            if name not in FROM_DATA:
                assert re.search(rf"--{name.replace('_', '-')}\b", shown), name


def test_without_a_command_it_shows_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for argv, status in (([], 2), (["--help"], 0)):
        assert main(argv) == status
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_a_command_that_is_not_there_is_refused_with_the_nearest(refused: Any) -> None:
    assert "no command 'trian'. Did you mean `train`?" in refused(["trian"], 2)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"kseq \S+\n", capsys.readouterr().out)
