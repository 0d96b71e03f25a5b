"""Search for good settings; keep the best model as a model folder."""

import contextlib
import json
import logging
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from kseq.cli.folders import data_settings, records
from kseq.cli.parsing import (
    Parser,
    UsageError,
    YamlLoader,
    add_settings,
    say,
    usage,
)
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.config.data import DataSettings
from kseq.storage.atomic_files import whole_file

RESULTS = "results.csv"
_RANGE = {"low", "high", "step", "log", "when"}


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq tune -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [--space FILE] [OPTIONS]"
    )
    parser.first = (
        *("output", "space", "tuner", "objective", "max_trials", "max_epochs", "seed"),
        *("batch_size", "overwrite", "plot", "json", "quiet", "source", "target"),
        *("validation_source", "validation_target", "table", "validation_table"),
        *("corpus", "tokenizer"),
    )
    parser.add_argument(
        "-o",
        "--output",
        type=str,
        metavar="FOLDER",
        help="folder of the sweep; an existing sweep is resumed",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the sweep in the folder first"
    )
    parser.add_argument(
        "--space",
        type=str | None,
        metavar="FILE",
        help="YAML file with the search space, by names of settings: a list holds "
        "choices, {low, high, step, log} is a range, another value is fixed. Default: "
        "cell, units, layers, dropout, learning_rate, batch_size and more",
    )
    parser.add_argument(
        "--tuner",
        type=str,
        default="random",
        help="random (default), grid, hyperband or bayesian",
    )
    parser.add_argument(
        "--objective",
        type=str,
        default="sequence_accuracy",
        help="metric on the validation data: sequence_accuracy (default), "
        "token_accuracy, perplexity or loss",
    )
    parser.add_argument(
        "--max-trials",
        type=int | None,
        metavar="N",
        help="number of trials. Default: 10; with grid all",
    )
    parser.add_argument(
        "--max-epochs",
        type=int | None,
        metavar="N",
        help="number of epochs of a trial. Default: 10",
    )
    parser.add_argument(
        "--batch-size",
        type=int | None,
        metavar="N",
        help="number of pairs in a batch, for all trials. Default: from the space",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the sweep. Default: 0"
    )
    parser.add_argument(
        "--plot", type=str, metavar="FILE", help="image file for a plot of the trials"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    short = {
        "source": "-s",
        "target": "-t",
        "validation_source": "-vs",
        "validation_target": "-vt",
    }
    add_settings(parser, DataSettings, "data", short, skip=("prepared",))


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if arguments.output is None:
        raise UsageError("-o FOLDER is required")
    data = data_settings("kseq tune", arguments)
    with usage():
        data.validation_kind  # noqa: B018 - raises where they lack
    space = None if arguments.space is None else read_space(arguments.space)

    from kseq.data import Examples

    load_tensorflow()
    from kseq.training.training_data import read_data
    from kseq.tuning import search

    with _log_to_stderr():
        read = read_data(data)
    train: Any = read.examples
    sources, targets = read.validation
    vocabs = train.source_vocab, train.target_vocab
    valid = Examples(vocabs[0].encode(sources), vocabs[1].encode(targets), *vocabs)
    folder = pathlib.Path(arguments.output)
    if not folder.name or folder.name == "..":
        folder = folder.resolve()
    fixed = {
        name: arguments[name]
        for name in ("max_epochs", "batch_size")
        if arguments[name] is not None
    }
    # keras-tuner and Keras report on stdout, which is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        sweep = search(
            (train, valid),
            space,
            tuner=arguments.tuner,
            objective=f"val_{arguments.objective.removeprefix('val_')}",
            max_trials=arguments.max_trials,
            directory=folder.parent,
            project_name=folder.name,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
            verbose=0 if arguments.quiet else 1,
            **fixed,
        )
    frame = sweep.results()
    with whole_file(sweep.folder / RESULTS) as temporary:
        frame.to_csv(temporary, index=False)
    if arguments.json:
        found = {
            "folder": str(sweep.folder),
            "best": str(sweep.folder / "best"),
            "objective": frame.attrs["objective"],
            "direction": frame.attrs["direction"],
            "trials": records(frame),
        }
        print(json.dumps(found))
    else:
        shown = frame.dropna(axis="columns", how="all")
        print(shown.to_string(index=False, na_rep="", float_format="{:.5g}".format))
    if arguments.plot is not None:
        from kseq.plotting import sweep as draw

        with whole_file(arguments.plot) as temporary:
            draw(frame, path=temporary)
    say(
        f"The best model is in {sweep.folder / 'best'}, the table in "
        f"{sweep.folder / RESULTS}"
    )
    return 0


def read_space(path: str) -> dict[str, Any]:
    """Reads what a sweep tries.

    Args:
        path: YAML file, a mapping from names of settings to what is tried.

    Returns:
        Dict, as `kseq.tuning.search` takes it.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a file; the message names it.
    """
    with open(path, "rb") as file:
        try:
            found = yaml.load(file, YamlLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"'{path}' is not YAML: {error}") from error
    if not isinstance(found, dict) or not found:
        raise ValueError(
            f"'{path}' must be a mapping from names of settings to what is tried. "
            f"Received: {found!r}."
        )
    return {str(name): _entry(path, str(name), each) for name, each in found.items()}


def _entry(path: str, name: str, value: Any) -> Any:
    """Returns a range as `kseq.tuning.search` takes it, and all else as it is."""
    if not isinstance(value, Mapping) or "type" in value or "class_name" in value:
        return value
    if not {"low", "high"} <= set(value) <= _RANGE:
        raise ValueError(
            f"'{path}': the range of `{name}` must be a mapping of low and high and, "
            f"where wanted, step, log and when. Received: {dict(value)}."
        )
    numbers = [value[key] for key in ("low", "high", "step") if key in value]
    whole = all(isinstance(number, int) for number in numbers)
    kept = {key: each for key, each in value.items() if key != "log"}
    sampling = "log" if value.get("log") else "linear"
    return {"type": "int" if whole else "float", **kept, "sampling": sampling}


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Tells what reading the data has met."""
    log = logging.getLogger("kseq")
    handler, level = logging.StreamHandler(sys.stderr), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
