"""Show the contents of a folder: a model, a training run, or prepared data."""

import dataclasses
import io
import json
import math
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from kseq.cli.parsing import Parser
from kseq.cli.printing import add_json_argument, align, frame_to_records, print_json
from kseq.cli.training_history import read_history
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.data import DataSettings
from kseq.config.training import TrainingSettings
from kseq.storage.model_folder import CHECKPOINTS, CONFIG, ModelFolder
from kseq.storage.run_record import read_record

_WEIGHTS = "model.weights.h5"
_SPECIAL_TOKENS = 4
_SHOWN_TOKENS = 12
_VOCAB_SIZES = ("source_vocab_size", "target_vocab_size")
_SWEEP = "sweep.json"
# Columns of metrics.csv that a terminal has no room for.
_HIDDEN_COLUMNS = (
    *("tokens_per_second", "train_loss", "train_token_accuracy"),
    *("train_sequence_accuracy", "valid_loss"),
)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq inspect FOLDER [OPTIONS]"
    parser.add_argument(
        "folder",
        nargs="?",
        type=str,
        metavar="FOLDER",
        help="folder of a model, of a training run (also while it trains), or of "
        "prepared data",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="show all settings, also those with their default values",
    )
    add_json_argument(parser)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    parser.require(arguments, "folder")
    contents = inspect_folder(arguments.folder, arguments.all)
    if arguments.json:
        print_json(contents)
    else:
        print(_format(contents))
    return 0


def inspect_folder(path: str, everything: bool = False) -> dict[str, Any]:
    """Returns the contents of a folder, without loading TensorFlow or a tokenizer.

    Args:
        path: The folder.
        everything: Whether to return all settings, or only those that differ from
            their defaults. Default: False.

    Returns:
        Dict for JSON. The value of a missing part is None.

    Raises:
        FileNotFoundError: If it is not a folder of kseq.
        ValueError: If a file in it cannot be read.
    """
    folder = ModelFolder(path)
    if not folder.path.is_dir():
        raise FileNotFoundError(f"'{path}' is not a folder.")
    if (folder.path / _SWEEP).is_file():
        raise FileNotFoundError(
            f"'{path}' is the folder of a sweep. Its best model is in "
            f"'{folder.path / 'best'}'."
        )
    record = read_record(folder) if folder.is_run() else None
    # A run writes config.json after it has read its data.
    has_config = record is None or (folder.path / CONFIG).is_file()
    config = folder.read_config() if has_config else {}
    history = read_history(folder)
    is_prepared = (folder.path / "shards").is_dir()
    kind = "training" if record is not None else "prepared" if is_prepared else "model"
    architecture = config.get("model")
    if architecture is None and record is not None:
        names = {field.name for field in dataclasses.fields(Seq2SeqConfig)}
        architecture = {k: v for k, v in record.items() if k in names}
    data = config.get("data") if record is None else _select(record, DataSettings)
    return {
        "folder": str(path),
        "kind": kind,
        "kseq_version": config.get("kseq_version"),
        "format_version": config.get("format_version"),
        "architecture": _select_changed(architecture, _default_model(), everything),
        "training": (
            None
            if record is None
            else _select_changed(
                _select(record, TrainingSettings),
                TrainingSettings().to_dict(),
                everything,
            )
        ),
        "data": _select_changed(data, DataSettings().to_dict(), everything),
        "parameters": _count_parameters(folder),
        "vocabularies": {
            side: _read_vocabulary(folder.path, side, config[f"{side}_vocab"])
            for side in ("source", "target")
            if f"{side}_vocab" in config
        },
        "shards": _read_shards(folder.path) if is_prepared else None,
        "length_ratio": config.get("length_ratio"),
        "averaged": config.get("averaged"),
        "checkpoints": list(folder.checkpoints()),
        "best_checkpoint": None if history is None else history.best,
        "best_by": None if history is None else history.metric,
        "history": [] if history is None else frame_to_records(history.frame),
        "use": _commands(str(path), kind, folder.model.is_file()),
    }


def _default_model() -> dict[str, Any]:
    return Seq2SeqConfig(source_vocab_size=99, target_vocab_size=99).to_dict()


def _select(record: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in record.items() if name in names}


def _select_changed(
    values: Mapping[str, Any] | None, defaults: Mapping[str, Any], everything: bool
) -> dict[str, Any] | None:
    """Returns the settings to show."""
    if values is None:
        return None
    return {
        name: value
        for name, value in values.items()
        if name not in (*_VOCAB_SIZES, "format_version")
        and (everything or name not in defaults or value != defaults[name])
    }


def _count_parameters(folder: ModelFolder) -> dict[str, Any] | None:
    """Counts the parameters of each layer in the file of the model."""
    files = [folder.model, *reversed(folder.checkpoints().values())]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return None
    import h5py

    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            weights = io.BytesIO(archive.read(_WEIGHTS))

        def visit(name: str, item: Any) -> None:
            parts = name.split("/")
            if parts[0] != "layers" or len(parts) < 2:
                return
            if isinstance(item, h5py.Dataset):
                # Other types are states of random generators.
                if item.dtype.kind == "f" or item.dtype.name == "bfloat16":
                    counts[parts[1]] = counts.get(parts[1], 0) + math.prod(item.shape)
            elif len(parts) == 3 and parts[2] == "vars":
                names[parts[1]] = str(item.attrs.get("name", parts[1]))

        with h5py.File(weights, "r") as file:
            file.visititems(visit)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"'{path}' is damaged or not a model: {error}") from error
    layers = {names.get(key, key): count for key, count in counts.items()}
    # The encoder first, like in the model.
    order = sorted(layers, key=lambda name: (not name.startswith("encoder"), name))
    return {
        "total": sum(layers.values()),
        "layers": {name: layers[name] for name in order},
    }


def _read_vocabulary(
    folder: pathlib.Path, side: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Describes a vocabulary, without loading its tokenizer."""
    from kseq.data.vocabulary_files import VOCAB_FILE

    path = folder / VOCAB_FILE.format(side=side)
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is missing.")
    try:
        ids = json.loads(path.read_text("utf-8"))
        tokens = sorted(ids, key=ids.__getitem__)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"'{path}' is not a vocabulary: {error}") from error
    return {
        "size": len(tokens),
        "tokenizer": config.get("tokenizer"),
        "width": config.get("width"),
        "first_tokens": tokens[_SPECIAL_TOKENS : _SPECIAL_TOKENS + _SHOWN_TOKENS],
    }


def _read_shards(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "shards" / "index.json"
    try:
        index = json.loads(path.read_text("utf-8"))
        return {"number": len(index["shards"]), **index["counts"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{path}' is not an index of shards.") from error


def _commands(folder: str, kind: str, has_model: bool) -> list[str]:
    if kind == "prepared":
        return [f"kseq train --prepared {folder} -vs FILE -vt FILE -o NEW_FOLDER"]
    lines = []
    if has_model:
        lines += [
            f"kseq translate -m {folder} < FILE",
            f"kseq evaluate -m {folder} -s FILE -t FILE",
        ]
    if kind == "training":
        lines.append(f"kseq train -o {folder} --resume")
    return lines


def _format(contents: Mapping[str, Any]) -> str:
    """Formats the contents of a folder as text."""
    kinds = {"training": "training run", "prepared": "prepared data", "model": "model"}
    version = contents["kseq_version"]
    writer = f", written by kseq {version}" if version else ""
    blocks = [[f"{contents['folder']}: {kinds[contents['kind']]}{writer}"]]
    if contents["averaged"]:
        averaged = contents["averaged"]
        numbers = ", ".join(map(str, averaged["checkpoints"]))
        blocks.append([f"mean of checkpoints {numbers} of '{averaged['training']}'"])
    for name in ("architecture", "data", "training"):
        settings = contents[name]
        if settings is not None:
            lines = _format_settings(settings) if settings else ["  default settings"]
            blocks.append([name, *lines])
    if contents["shards"]:
        blocks.append(["shards", *_format_settings(contents["shards"])])
    if contents["parameters"]:
        layers = contents["parameters"]["layers"]
        lines = align((name, f"{count:>12,}") for name, count in layers.items())
        blocks.append([f"parameters: {contents['parameters']['total']:,}", *lines])
    for side, vocab in contents["vocabularies"].items():
        has_more = vocab["size"] > _SPECIAL_TOKENS + _SHOWN_TOKENS
        blocks.append(
            [
                f"{side} vocabulary: {vocab['size']:,} tokens, tokenizer "
                f"{_format_tokenizer(vocab['tokenizer'])}"
                + (f", fixed width {vocab['width']}" if vocab["width"] else ""),
                f"  {' '.join(map(_format_token, vocab['first_tokens']))}"
                f"{' ...' if has_more else ''}",
            ]
        )
    blocks += _format_checkpoints(contents)
    if contents["use"]:
        blocks.append(["commands", *(f"  {line}" for line in contents["use"])])
    return "\n\n".join("\n".join(block) for block in blocks)


def _format_checkpoints(contents: Mapping[str, Any]) -> list[list[str]]:
    if contents["kind"] != "training":
        return []
    if not contents["history"]:
        return [["no checkpoint yet"]]
    best, existing = contents["best_checkpoint"], contents["checkpoints"]
    names = [name for name in contents["history"][0] if name not in _HIDDEN_COLUMNS]
    rows = [["", *(name.removeprefix("valid_") for name in names), ""]]
    for row in contents["history"]:
        mark = "*" if row["checkpoint"] == best else ""
        note = "" if row["checkpoint"] in existing else "removed"
        rows.append([mark, *(_format_number(row[name]) for name in names), note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    choice = f"; the best by {contents['best_by']} is {best} (*)" if best else ""
    return [
        [f"checkpoints: {len(existing)} in {CHECKPOINTS}/{choice}"]
        + [line.rstrip() for line in lines]
    ]


def _format_settings(settings: Mapping[str, Any]) -> list[str]:
    return align(
        (name, " ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in settings.items()
    )


def _format_tokenizer(config: Any) -> str:
    if isinstance(config, str):
        return config
    options = [str(config[key]) for key in ("language", "size") if key in config]
    lower_case = ", lower case" if config.get("lower_case") else ""
    return ":".join([str(config["name"]), *options]) + lower_case


def _format_token(token: str) -> str:
    """Makes a blank token visible."""
    return token if token.strip() and token.isprintable() else repr(token)


def _format_number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
