"""Search for the best hyperparameters, and write the best model."""

import contextlib
import logging
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from kseq.cli.config_files import YamlLoader
from kseq.cli.data_arguments import SHORT_FLAGS, read_data_settings
from kseq.cli.parsing import Parser, add_settings
from kseq.cli.printing import add_json_argument, frame_to_records, print_json, say
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import as_usage_errors
from kseq.config.data import DataSettings
from kseq.storage.atomic_files import whole_file

RESULTS = "results.csv"
_RANGE_KEYS = {"low", "high", "step", "log", "when"}


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq tune -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [--space FILE] [OPTIONS]"
    )
    parser.main_options = (
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
        "--overwrite", action="store_true", help="replace the sweep in the folder"
    )
    parser.add_argument(
        "--space",
        type=str | None,
        metavar="FILE",
        help="YAML file with the search space, a mapping from names of settings to "
        "values: a list has choices, {low, high, step, log} is a range, any other "
        "value is fixed. Default: cell, units, layers, dropout, learning_rate, "
        "batch_size and more",
    )
    parser.add_argument(
        "--tuner",
        type=str,
        default="random",
        help="search algorithm: random, grid, hyperband or bayesian",
    )
    parser.add_argument(
        "--objective",
        type=str,
        default="sequence_accuracy",
        help="metric of the validation data that ranks the trials: sequence_accuracy, "
        "token_accuracy, perplexity or loss",
    )
    parser.add_argument(
        "--max-trials",
        type=int | None,
        help="maximum number of trials. Default: 10, or all with --tuner grid",
    )
    parser.add_argument(
        "--max-epochs",
        type=int | None,
        help="number of epochs of each trial. Default: 10",
    )
    parser.add_argument(
        "--batch-size",
        type=int | None,
        help="number of pairs in a batch, for all trials. Default: from --space",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sweep")
    parser.add_argument(
        "--plot",
        type=str,
        metavar="FILE",
        help="plot the trials to this image file. Default: no plot",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_json_argument(parser)
    add_settings(parser, DataSettings, "data", SHORT_FLAGS, skip=("prepared",))


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    parser.require(arguments, "output")
    data = read_data_settings(arguments)
    with as_usage_errors():
        data.validation_kind  # noqa: B018 - raises if there is no validation data
    space = None if arguments.space is None else read_space(arguments.space)

    from kseq.data import Examples

    load_tensorflow()
    from kseq.training.training_data import read_data
    from kseq.tuning import search

    with _log_to_stderr():
        pairs = read_data(data)
    train: Any = pairs.examples
    sources, targets = pairs.validation
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
    # keras-tuner and Keras print progress to stdout, which is for the result.
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
        result = {
            "folder": str(sweep.folder),
            "best": str(sweep.folder / "best"),
            "objective": frame.attrs["objective"],
            "direction": frame.attrs["direction"],
            "trials": frame_to_records(frame),
        }
        print_json(result)
    else:
        columns = frame.dropna(axis="columns", how="all")
        print(columns.to_string(index=False, na_rep="", float_format="{:.5g}".format))
    if arguments.plot is not None:
        from kseq.plotting import sweep as draw

        with whole_file(arguments.plot) as temporary:
            draw(frame, path=temporary)
    say(
        f"The best model is in {sweep.folder / 'best'}, the table of trials in "
        f"{sweep.folder / RESULTS}."
    )
    return 0


def read_space(path: str) -> dict[str, Any]:
    """Reads a search space.

    Args:
        path: YAML file, a mapping from names of settings to choices, ranges or values.

    Returns:
        The search space for `kseq.tuning.search`, a dict.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is not a search space.
    """
    with open(path, "rb") as file:
        try:
            space = yaml.load(file, YamlLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"'{path}' is not YAML: {error}") from error
    if not isinstance(space, dict) or not space:
        raise ValueError(
            f"'{path}' must be a mapping from names of settings to choices, ranges or "
            f"values. Received: {space!r}."
        )
    return {str(name): _convert(path, str(name), each) for name, each in space.items()}


def _convert(path: str, name: str, value: Any) -> Any:
    """Converts a range to the form of `kseq.tuning.search`."""
    if not isinstance(value, Mapping) or "type" in value or "class_name" in value:
        return value
    if not {"low", "high"} <= set(value) <= _RANGE_KEYS:
        raise ValueError(
            f"'{path}': the range of `{name}` must have low and high, and may have "
            f"step, log and when. Received: {dict(value)}."
        )
    numbers = [value[key] for key in ("low", "high", "step") if key in value]
    kind = "int" if all(isinstance(number, int) for number in numbers) else "float"
    limits = {key: each for key, each in value.items() if key != "log"}
    sampling = "log" if value.get("log") else "linear"
    return {"type": kind, **limits, "sampling": sampling}


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Prints the log messages of kseq to stderr."""
    log = logging.getLogger("kseq")
    handler, level = logging.StreamHandler(sys.stderr), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
