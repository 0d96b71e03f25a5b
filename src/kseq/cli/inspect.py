"""Show the contents of a folder: a model, a training run, or prepared data."""

import dataclasses
import io
import json
import math
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from kseq.cli.folders import read_history, records
from kseq.cli.parsing import Parser, UsageError
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.data import DataSettings
from kseq.config.training import TrainingSettings
from kseq.storage.model_folder import CHECKPOINTS, CONFIG, ModelFolder
from kseq.storage.run_record import read_record

_WEIGHTS = "model.weights.h5"
_SPECIAL = 4
_SHOWN_TOKENS = 12
_SIZES = ("source_vocab_size", "target_vocab_size")
_SWEEP = "sweep.json"
_NOT_SHOWN = (
    "tokens_per_second",
    "train_loss",
    "train_token_accuracy",
    "train_sequence_accuracy",
    "valid_loss",
)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq inspect FOLDER [OPTIONS]"
    parser.add_argument(
        "folder",
        nargs="?",
        type=str,
        metavar="FOLDER",
        help="folder of a model, of a training run (running or ended), or of prepared "
        "data",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="show all settings. Default: those that differ from their defaults",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if arguments.folder is None:
        raise UsageError("FOLDER is required")
    from kseq.data.corpora.lines import json_line

    found = look_into(arguments.folder, arguments.all)
    print(json_line(found) if arguments.json else _text(found))
    return 0


def look_into(folder: str, everything: bool = False) -> dict[str, Any]:
    """Returns what is in a folder; neither TensorFlow nor a tokenizer is loaded.

    Args:
        folder: The folder.
        everything: Return every setting. Default False: those that differ from the
            defaults.

    Returns:
        Dict that JSON can hold. What is not there is None.

    Raises:
        FileNotFoundError: If it is not a folder of kseq.
        ValueError: If a file in it cannot be read.
    """
    place = ModelFolder(folder)
    if not place.path.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'.")
    if (place.path / _SWEEP).is_file():
        raise FileNotFoundError(
            f"'{folder}' is the folder of a sweep: its best model is in "
            f"'{place.path / 'best'}'."
        )
    record = read_record(place) if place.is_run() else None
    # A training writes it once it has read its data.
    begun = record is None or (place.path / CONFIG).is_file()
    config = place.read_config() if begun else {}
    history = read_history(place)
    is_prepared = (place.path / "shards").is_dir()
    kind = "training" if record is not None else "prepared" if is_prepared else "model"
    architecture = config.get("model")
    if architecture is None and record is not None:
        names = {field.name for field in dataclasses.fields(Seq2SeqConfig)}
        architecture = {k: v for k, v in record.items() if k in names}
    data = config.get("data") if record is None else _part(record, DataSettings)
    return {
        "folder": str(folder),
        "kind": kind,
        "kseq_version": config.get("kseq_version"),
        "format_version": config.get("format_version"),
        "architecture": _differing(architecture, _plain_model(), everything),
        "training": (
            None
            if record is None
            else _differing(
                _part(record, TrainingSettings),
                TrainingSettings().to_dict(),
                everything,
            )
        ),
        "data": _differing(data, DataSettings().to_dict(), everything),
        "parameters": _parameters(place),
        "vocabularies": {
            side: _vocabulary(place.path, side, config[f"{side}_vocab"])
            for side in ("source", "target")
            if f"{side}_vocab" in config
        },
        "shards": _shards(place.path) if is_prepared else None,
        "length_ratio": config.get("length_ratio"),
        "averaged": config.get("averaged"),
        "checkpoints": list(place.checkpoints()),
        "best_checkpoint": None if history is None else history.best,
        "best_by": None if history is None else history.metric,
        "history": ([] if history is None else records(history.frame)),
        "use": _use(str(folder), kind, place.model.is_file()),
    }


def _plain_model() -> dict[str, Any]:
    return Seq2SeqConfig(source_vocab_size=99, target_vocab_size=99).to_dict()


def _part(record: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in record.items() if name in names}


def _differing(
    values: Mapping[str, Any] | None, defaults: Mapping[str, Any], everything: bool
) -> dict[str, Any] | None:
    """Returns the settings that are worth showing."""
    if values is None:
        return None
    return {
        name: value
        for name, value in values.items()
        if name not in (*_SIZES, "format_version")
        and (everything or name not in defaults or value != defaults[name])
    }


def _parameters(place: ModelFolder) -> dict[str, Any] | None:
    """Returns the numbers of parameters by layer, as the file of the model has them."""
    files = [place.model, *reversed(place.checkpoints().values())]
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
                # Others are the states of random generators.
                if item.dtype.kind == "f" or item.dtype.name == "bfloat16":
                    counts[parts[1]] = counts.get(parts[1], 0) + math.prod(item.shape)
            elif len(parts) == 3 and parts[2] == "vars":
                names[parts[1]] = str(item.attrs.get("name", parts[1]))

        with h5py.File(weights, "r") as file:
            file.visititems(visit)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{path}' cannot be read as a model; it may be damaged: {error}"
        ) from error
    layers = {names.get(key, key): count for key, count in counts.items()}
    # The encoder first, as data run through the model.
    order = sorted(layers, key=lambda name: (not name.startswith("encoder"), name))
    return {
        "total": sum(layers.values()),
        "layers": {name: layers[name] for name in order},
    }


def _vocabulary(
    folder: pathlib.Path, side: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a folder says of a vocabulary, without loading its tokenizer."""
    from kseq.data.vocabulary_files import VOCAB_FILE

    path = folder / VOCAB_FILE.format(side=side)
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' lacks {path.name}.")
    try:
        ids = json.loads(path.read_text("utf-8"))
        tokens = sorted(ids, key=ids.__getitem__)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"'{path}' is not a vocabulary: {error}") from error
    return {
        "size": len(tokens),
        "tokenizer": config.get("tokenizer"),
        "width": config.get("width"),
        "first_tokens": tokens[_SPECIAL : _SPECIAL + _SHOWN_TOKENS],
    }


def _shards(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "shards" / "index.json"
    try:
        index = json.loads(path.read_text("utf-8"))
        return {"number": len(index["shards"]), **index["counts"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{path}' is not the index of shards.") from error


def _use(folder: str, kind: str, has_model: bool) -> list[str]:
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


def _text(found: Mapping[str, Any]) -> str:
    """Returns what a person is shown."""
    what = {"training": "a training", "prepared": "prepared data", "model": "a model"}
    version = found["kseq_version"]
    by = f", written by kseq {version}" if version else ""
    blocks = [[f"{found['folder']}: {what[found['kind']]}{by}"]]
    if found["averaged"]:
        averaged = found["averaged"]
        numbers = ", ".join(map(str, averaged["checkpoints"]))
        blocks.append(
            [f"the mean of checkpoints {numbers} of '{averaged['training']}'"]
        )
    for name, title in (
        ("architecture", "architecture"),
        ("data", "data"),
        ("training", "training"),
    ):
        settings = found[name]
        if settings is not None:
            lines = _columns(settings) if settings else ["  the defaults"]
            blocks.append([title, *lines])
    if found["shards"]:
        blocks.append(["shards", *_columns(found["shards"])])
    if found["parameters"]:
        layers = found["parameters"]["layers"]
        width = max(map(len, layers), default=0)
        lines = [f"  {name:{width}}  {count:>12,}" for name, count in layers.items()]
        blocks.append([f"parameters: {found['parameters']['total']:,}", *lines])
    for side, vocab in found["vocabularies"].items():
        blocks.append(
            [
                f"{side} vocabulary: {vocab['size']:,} tokens, cut by "
                f"{_tokenizer(vocab['tokenizer'])}"
                + (f", justified to {vocab['width']}" if vocab["width"] else ""),
                f"  {' '.join(map(_shown, vocab['first_tokens']))}"
                f"{' ...' if vocab['size'] > _SPECIAL + _SHOWN_TOKENS else ''}",
            ]
        )
    blocks += _of_training(found)
    if found["use"]:
        blocks.append(["use", *(f"  {line}" for line in found["use"])])
    return "\n\n".join("\n".join(block) for block in blocks)


def _of_training(found: Mapping[str, Any]) -> list[list[str]]:
    """Returns what a person is shown of the checkpoints."""
    if found["kind"] != "training":
        return []
    if not found["history"]:
        return [["no checkpoint yet"]]
    best, kept = found["best_checkpoint"], found["checkpoints"]
    # What a terminal has room for; metrics.csv has all.
    names = [name for name in found["history"][0] if name not in _NOT_SHOWN]
    rows = [["", *(name.removeprefix("valid_") for name in names), ""]]
    for row in found["history"]:
        mark = "*" if row["checkpoint"] == best else ""
        gone = "" if row["checkpoint"] in kept else "removed"
        rows.append([mark, *(_figure(row[name]) for name in names), gone])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    why = f"; the best by {found['best_by']} is {best} (*)" if best else ""
    return [
        [f"checkpoints: {len(kept)} in {CHECKPOINTS}/{why}"]
        + [line.rstrip() for line in lines]
    ]


def _columns(values: Mapping[str, Any]) -> list[str]:
    width = max(map(len, values))
    return [
        f"  {name:{width}}  "
        + (" ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in values.items()
    ]


def _tokenizer(config: Any) -> str:
    if isinstance(config, str):
        return config
    rest = [str(value) for key, value in config.items() if key in ("language", "size")]
    lower = ", lower case" if config.get("lower_case") else ""
    return ":".join([str(config["name"]), *rest]) + lower


def _shown(token: str) -> str:
    """Returns a token so that a blank one is seen."""
    return token if token.strip() and token.isprintable() else repr(token)


def _figure(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:.5g}"
        if isinstance(value, float)
        else str(value)
    )
