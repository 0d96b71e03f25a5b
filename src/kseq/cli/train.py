"""Train a model on files of texts, and write a model folder."""

from collections.abc import Sequence

from kseq.cli.parsing import Parser, UsageError, add_settings, say, settings_of, usage
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import nearest_name
from kseq.config.data import DataSettings
from kseq.config.presets import PRESETS
from kseq.config.training import TrainingSettings
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import read_record

_SHORT = {
    "source": "-s",
    "target": "-t",
    "validation_source": "-vs",
    "validation_target": "-vt",
}
# What most runs need.
_FIRST = (
    *("output", "resume", "source", "target", "validation_source"),
    *("validation_target", "table", "validation_table", "tokenizer", "cell", "units"),
    *("layers", "embedding_dim", "dropout", "bidirectional", "attention"),
    *("batch_size", "learning_rate", "metrics", "checkpoint_updates", "max_epochs"),
)
_FROM_DATA = ("source_vocab_size", "target_vocab_size")
_NOT_OF_TEXT = ("source_feature_dim",)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq train -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [OPTIONS]\n"
        "       kseq train --config FILE -o FOLDER [OPTIONS]\n"
        "       kseq train -o FOLDER --resume"
    )
    parser.first = _FIRST
    parser.add_argument(
        "-o", "--output", type=str, metavar="FOLDER", help="model folder to write"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in the folder"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing; log.txt has the log"
    )
    parser.add_argument(
        "--preset",
        type=str,
        metavar="NAME",
        help=f"start from the architecture of a well-known model: {', '.join(PRESETS)}",
    )
    add_settings(parser, DataSettings, "data", _SHORT)
    add_settings(
        parser, Seq2SeqConfig, "architecture", skip=(*_FROM_DATA, *_NOT_OF_TEXT)
    )
    parser.add_argument(
        "--bidirectional",
        action="store_true",
        help="short for --encoder-direction bidirectional",
    )
    add_settings(parser, TrainingSettings, "training")


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse(argv)
    if arguments.output is None and not arguments.print_config:
        raise UsageError("-o FOLDER is required")
    if arguments.preset is not None:
        if arguments.preset not in PRESETS:
            raise UsageError(
                f"`preset` must be one of {', '.join(PRESETS)}."
                f"{nearest_name(arguments.preset, PRESETS)} "
                f"Received: {arguments.preset!r}."
            )
        chosen = PRESETS[arguments.preset].items()
        parser.set_defaults(**{k: v for k, v in chosen if k not in _FROM_DATA})
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if arguments.resume and arguments.output and ModelFolder(arguments.output).is_run():
        place = ModelFolder(arguments.output)
        if place.has_state():
            place.read_config()  # raises where the folder is of a newer kseq
        begun = read_record(place)
        parser.set_defaults(**{k: v for k, v in begun.items() if k in arguments})
    # Again: flags and the config file go before a preset's and a record's settings.
    arguments = parser.parse_args(argv)
    if arguments.bidirectional:
        arguments.encoder_direction = "bidirectional"
    with usage():
        data = DataSettings(**settings_of(DataSettings, arguments))
        data.kind, data.validation_kind  # noqa: B018 - both raise where data lack
        settings = TrainingSettings(**settings_of(TrainingSettings, arguments))
        # Sizes that fit any choice: only the vocabularies know the real ones.
        fields = settings_of(Seq2SeqConfig, arguments)
        Seq2SeqConfig(source_vocab_size=99, target_vocab_size=99, **fields)

    load_tensorflow()
    from kseq.training.run import open_run, set_up, train_in
    from kseq.training.training_data import read_data

    with usage():
        set_up(settings)
    record = {**data.to_dict(), **fields, **settings.to_dict()}
    verbose = not arguments.quiet
    with open_run(
        arguments.output, record, arguments.resume, arguments.overwrite, verbose
    ) as (place, resumed):
        try:
            read = read_data(data, place if resumed else None)
        except FileNotFoundError as error:
            hint = " If the data has moved, pass its new paths." if resumed else ""
            raise FileNotFoundError(f"{error}{hint}") from error
        result = train_in(
            place,
            read.examples,
            read.validation,
            fields,
            settings,
            resumed,
            record=record,
            verbose=verbose,
        )
    say(f"{result.folder}: best checkpoint {result.best}, after {result.reason}")
    return 0
