"""Train a model on pairs of texts, and write a model folder."""

from collections.abc import Sequence

from kseq.cli.data_arguments import SHORT_FLAGS
from kseq.cli.parsing import Parser, add_settings, select_settings
from kseq.cli.printing import say
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import UsageError, as_usage_errors
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import nearest_name
from kseq.config.data import DataSettings
from kseq.config.presets import PRESETS
from kseq.config.training import TrainingSettings
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import read_record

# The options that most runs need.
_MAIN_OPTIONS = (
    *("output", "resume", "source", "target", "validation_source"),
    *("validation_target", "table", "validation_table", "tokenizer", "cell", "units"),
    *("layers", "embedding_dim", "dropout", "bidirectional", "attention"),
    *("batch_size", "learning_rate", "metrics", "checkpoint_updates", "max_epochs"),
)
_FROM_DATA = ("source_vocab_size", "target_vocab_size")
_NOT_FOR_TEXTS = ("source_feature_dim",)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq train -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [OPTIONS]\n"
        "       kseq train --config FILE -o FOLDER [OPTIONS]\n"
        "       kseq train -o FOLDER --resume"
    )
    parser.main_options = _MAIN_OPTIONS
    parser.add_argument(
        "-o", "--output", type=str, metavar="FOLDER", help="model folder to write"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the run in the folder"
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
        help="use the settings of a published model; other flags have precedence. One "
        f"of {', '.join(PRESETS)}. Default: none",
    )
    add_settings(parser, DataSettings, "data", SHORT_FLAGS)
    add_settings(
        parser, Seq2SeqConfig, "architecture", skip=(*_FROM_DATA, *_NOT_FOR_TEXTS)
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
    if not arguments.print_config:
        parser.require(arguments, "output")
    if arguments.preset is not None:
        if arguments.preset not in PRESETS:
            raise UsageError(
                f"`preset` must be one of {', '.join(PRESETS)}. "
                f"Received: {arguments.preset!r}."
                f"{nearest_name(arguments.preset, PRESETS)}"
            )
        preset = PRESETS[arguments.preset].items()
        parser.set_defaults(**{k: v for k, v in preset if k not in _FROM_DATA})
    if arguments.resume and arguments.overwrite:
        raise UsageError("use --resume or --overwrite, not both")
    if arguments.resume and arguments.output and ModelFolder(arguments.output).is_run():
        folder = ModelFolder(arguments.output)
        if folder.has_state():
            folder.read_config()  # raises if the folder is from a newer kseq
        record = read_record(folder)
        parser.set_defaults(**{k: v for k, v in record.items() if k in arguments})
    # Parsed again: the new defaults are those of the preset and the resumed run.
    arguments = parser.parse_args(argv)
    if arguments.bidirectional:
        arguments.encoder_direction = "bidirectional"
    with as_usage_errors():
        data = DataSettings(**select_settings(DataSettings, arguments))
        data.kind, data.validation_kind  # noqa: B018 - both raise if data is missing
        settings = TrainingSettings(**select_settings(TrainingSettings, arguments))
        # The vocabularies have the real sizes; 99 is valid with all other settings.
        fields = select_settings(Seq2SeqConfig, arguments)
        Seq2SeqConfig(source_vocab_size=99, target_vocab_size=99, **fields)

    load_tensorflow()
    from kseq.training.run import open_run, set_up, train_in
    from kseq.training.training_data import read_data

    with as_usage_errors():
        set_up(settings)
    record = {**data.to_dict(), **fields, **settings.to_dict()}
    verbose = not arguments.quiet
    with open_run(
        arguments.output, record, arguments.resume, arguments.overwrite, verbose
    ) as (folder, resumed):
        try:
            pairs = read_data(data, folder if resumed else None)
        except FileNotFoundError as error:
            hint = " If you moved the data, pass its new paths." if resumed else ""
            raise FileNotFoundError(f"{error}{hint}") from error
        result = train_in(
            folder,
            pairs.examples,
            pairs.validation,
            fields,
            settings,
            resumed,
            record=record,
            verbose=verbose,
        )
    say(f"{result.folder}: best checkpoint {result.best}, after {result.reason}")
    return 0
