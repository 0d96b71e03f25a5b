"""Training runs: opening a model folder, building the model, training it."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import pandas as pd

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.training import TrainingSettings
from kseq.data import Examples
from kseq.data.datasets import BatchStream
from kseq.data.shards import ShardedExamples
from kseq.decoding import LengthRatio
from kseq.distribution import get_strategy, is_chief, use_device
from kseq.losses import MaskedCrossentropy
from kseq.models import Seq2Seq
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import check_record, write_record
from kseq.storage.run_state import load_state
from kseq.teacher_forcing import teacher_forcing
from kseq.training.checkpointing import Checkpointer
from kseq.training.initial_weights import freeze, load_embeddings, load_parameters
from kseq.training.learning_rates import find_plateau, make_schedule
from kseq.training.loop import TrainingLoop
from kseq.training.optimizers import OPTIMIZERS, make_optimizer
from kseq.training.run_log import logging_to
from kseq.training.validation import Validation

log = logging.getLogger("kseq")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        folder: The model folder.
        reason: Why training has ended.
        best: Number of the best checkpoint.
        metrics: pandas DataFrame, a row for each checkpoint.
    """

    folder: pathlib.Path
    reason: str
    best: int
    metrics: Any


def train(
    folder: str | os.PathLike[str],
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
    model: Seq2SeqConfig | Mapping[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    record: Mapping[str, Any] | None = None,
    on_checkpoint: Callable[[Mapping[str, Any]], None] | None = None,
    verbose: bool = True,
) -> TrainingResult:
    """Trains a model into a model folder that `Translator.load` reads.

    Each checkpoint validates and writes the model. The best checkpoint so far is the
    model of the folder. A killed run can be resumed. It then ends with the same weights
    as an uninterrupted run: bit for bit on a CPU.

    SIGINT and SIGTERM end the run after the current step. The state is saved.

    Args:
        folder: The model folder of the run.
        examples: `Examples` or `ShardedExamples` to train on.
        validation: Source texts and target texts. A source that occurs several times
            has several references for the metrics of decoded texts.
        model: A `Seq2SeqConfig`, or a dict with some of its fields. The sizes of the
            vocabularies are optional. Default: the defaults of `Seq2SeqConfig`.
        settings: `TrainingSettings`. Default: `TrainingSettings()`.
        resume: Resume the run in the folder, if there is one. Only settings that affect
            no update may differ, such as the reasons to stop and the log. Default:
            False.
        overwrite: Remove an existing run from the folder. A run that was killed before
            it saved a state needs neither `resume` nor `overwrite`. Default: False.
        record: Further entries for the record of the run, `settings.yaml`, such as the
            names of the data files. Default: none.
        on_checkpoint: Called after each checkpoint with its row of `metrics.csv`.
            Default: none.
        verbose: Show the log and the progress on stderr: a progress bar on a terminal,
            else lines. Default: True.

    Returns:
        `TrainingResult`.

    Raises:
        FileExistsError: If the folder is not empty, and neither `resume` nor
            `overwrite` is set; or if another program is training in it.
        ValueError: If a setting is invalid, or differs from the resumed run.
        RunDivergedError: If the loss is not finite, or worse than guessing.
        RunInterruptedError: After SIGINT or SIGTERM.

    Example:
        >>> from kseq import TrainingSettings, Translator
        >>> from kseq.data import from_pairs
        >>> from kseq.training import train
        >>> texts = ["a b", "b a", "a a", "b b"]
        >>> result = train(
        ...     "copier",
        ...     from_pairs(texts, texts),
        ...     (texts, texts),
        ...     {"units": 8, "embedding_dim": 8},
        ...     TrainingSettings(checkpoint_updates=2, max_updates=4),
        ...     verbose=False,
        ... )
        >>> result.reason, list(result.metrics["updates"])
        ('4 updates', [2, 4])
        >>> len(Translator.load("copier").translate(["a b"]))
        1
    """
    settings = settings or TrainingSettings()
    set_up(settings)
    config = _complete_config(model, examples)
    record = {**(record or {}), **_without_sizes(config), **settings.to_dict()}
    with open_run(folder, record, resume, overwrite, verbose) as (opened, resumed):
        return train_in(
            opened,
            examples,
            validation,
            config,
            settings,
            resumed,
            record=record,
            on_checkpoint=on_checkpoint,
            verbose=verbose,
        )


def set_up(settings: TrainingSettings) -> None:
    """Sets up the devices, and checks the settings that name Keras objects.

    Call it before TensorFlow is used: the devices and workers cannot change later. It
    also finds mistakes before the data is read, which takes longer.

    Args:
        settings: `TrainingSettings`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, the optimizer or schedule has no such
            option, or a device or worker is missing.
        RuntimeError: If TensorFlow has already been used.
    """
    use_device(settings.device)
    get_strategy(settings.strategy)
    _make_optimizer(settings, _make_schedule(settings))
    teacher_forcing(settings.teacher_forcing_ratio)


@contextlib.contextmanager
def open_run(
    folder: str | os.PathLike[str],
    record: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    verbose: bool = True,
) -> Iterator[tuple[ModelFolder, bool]]:
    """Opens the model folder of a run: locks it, and starts the log.

    Args:
        folder: The folder.
        record: Every setting of the run, by name.
        resume: As in `train`. Default: False.
        overwrite: As in `train`. Default: False.
        verbose: As in `train`. Default: True.

    Yields:
        The model folder, and whether it holds a run to resume.

    Raises:
        FileExistsError: As in `train`.
        ValueError: If the existing run has another record, or `resume` and `overwrite`
            are both set.
    """
    model_folder = ModelFolder(folder)
    strategy = str(record.get("strategy"))
    if strategy == "multi_worker" and not is_chief(get_strategy(strategy)):
        # Only the chief writes. The other workers only read the state.
        with logging_to(None, verbose):
            yield model_folder, resume and model_folder.is_run()
        return
    model_folder.check_resumable(resume, overwrite)
    with model_folder.lock():
        # Again: another program may have trained here since.
        resumed = model_folder.check_resumable(resume, overwrite)
        changes = check_record(model_folder, record) if resumed else []
        if not resumed:
            model_folder.clear()
            write_record(model_folder, record)
        with logging_to(model_folder.log, verbose):
            model_folder.remove_temporary_files()
            for change in changes:
                log.info("%s", change)
            yield model_folder, resumed


def train_in(
    folder: ModelFolder,
    examples: Examples | ShardedExamples,
    validation: tuple[Sequence[str], Sequence[str]],
    model: Seq2SeqConfig | Mapping[str, Any] | None,
    settings: TrainingSettings,
    resumed: bool,
    *,
    record: Mapping[str, Any],
    on_checkpoint: Callable[[Mapping[str, Any]], None] | None = None,
    verbose: bool = True,
) -> TrainingResult:
    """Trains in a model folder opened by `open_run`, after `set_up`.

    `resumed` and `record` are those of `open_run`; the others are those of `train`.
    """
    config = _complete_config(model, examples)
    schedule = _make_schedule(settings)
    stream = BatchStream(
        examples,
        batch_size=settings.batch_size,
        batch_type=settings.batch_type,
        buckets=settings.buckets or None if settings.bucket_width is None else "auto",
        bucket_width=settings.bucket_width,
        seed=settings.seed,
    )
    length_ratio = _length_ratio(examples, settings.length_deviations)
    checkpointer = Checkpointer(
        folder,
        examples,
        Validation(examples, validation, settings, length_ratio),
        stream,
        config,
        settings,
        find_plateau(schedule),
        record,
        on_checkpoint,
    )
    keras.utils.set_random_seed(settings.seed)
    built = _build_model(config, settings, schedule, None if resumed else examples)
    state = load_state(folder.state) if resumed else None
    if state is None:
        checkpointer.begin(built)
    else:
        checkpointer.resume(built, state)
    reason = TrainingLoop(checkpointer, verbose).run()
    best = checkpointer.best
    log.info("ended after %s; the best checkpoint is %d", reason, best)
    return TrainingResult(
        folder.path, reason, best, pd.DataFrame(checkpointer.state.rows)
    )


def _build_model(
    config: Seq2SeqConfig,
    settings: TrainingSettings,
    schedule: Any,
    examples: Examples | ShardedExamples | None,
) -> Seq2Seq:
    """Builds and compiles the model; without `examples` it gets no initial weights."""
    with get_strategy(settings.strategy).scope():
        model = Seq2Seq(config, dtype=settings.dtype)
        model.compile(
            _make_optimizer(settings, schedule),
            MaskedCrossentropy(settings.label_smoothing),
            weighted_metrics=["perplexity", "token_accuracy", "sequence_accuracy"],
            teacher_forcing_ratio=teacher_forcing(settings.teacher_forcing_ratio),
            teacher_forcing_coin=settings.teacher_forcing_coin,
            gradient=settings.gradient,
            clipvalue_per_token=settings.clipvalue_per_token,
            jit_compile=settings.jit_compile,
        )
        if examples is not None:
            _load_initial_weights(model, settings, examples)
        if settings.freeze:
            log.info("frozen: %s", ", ".join(freeze(model, settings.freeze)))
        # With mixed_float16 `compile` has wrapped the optimizer to scale the loss.
        model.optimizer.build(model.trainable_variables)
    return model


def _load_initial_weights(
    model: Seq2Seq, settings: TrainingSettings, examples: Examples | ShardedExamples
) -> None:
    if settings.parameters is not None:
        report = load_parameters(
            model, settings.parameters, strict=not settings.partial_parameters
        )
        log.info("from '%s': %s", settings.parameters, report)
    for side, path in (
        ("source", settings.source_embeddings),
        ("target", settings.target_embeddings),
    ):
        if path is not None:
            vocab = getattr(examples, f"{side}_vocab")
            count = load_embeddings(model, side, vocab, path)
            log.info("%d of %d %s vectors from '%s'", count, len(vocab), side, path)


def _make_schedule(settings: TrainingSettings) -> Any:
    """Returns the learning rate, a number or a schedule."""
    return make_schedule(
        settings.schedule,
        settings.learning_rate,
        half_life=settings.half_life,
        decay_steps=settings.decay_steps,
        decay_rate=settings.decay_rate,
        end_learning_rate=settings.end_learning_rate,
        warmup_steps=settings.warmup_steps,
    )


def _make_optimizer(settings: TrainingSettings, schedule: Any) -> Any:
    names = {name for _, options in OPTIMIZERS.values() for name in options}
    return make_optimizer(
        settings.optimizer,
        schedule,
        accumulation_steps=settings.accumulation_steps,
        global_clipnorm=settings.global_clipnorm or None,
        clipvalue=settings.clipvalue,
        weight_decay=settings.weight_decay,
        **{name: getattr(settings, name) for name in names},
    )


def _complete_config(
    model: Seq2SeqConfig | Mapping[str, Any] | None,
    examples: Examples | ShardedExamples,
) -> Seq2SeqConfig:
    """Returns the architecture with the sizes of the vocabularies."""
    sizes = {
        "source_vocab_size": len(examples.source_vocab),
        "target_vocab_size": len(examples.target_vocab),
    }
    if isinstance(model, Seq2SeqConfig):
        model = model.to_dict()
    given = {k: v for k, v in (model or {}).items() if v is not None or k not in sizes}
    for name, size in sizes.items():
        if given.get(name, size) != size:
            raise ValueError(
                f"`{name}` must be {size}, the size of the vocabulary, or None. "
                f"Received: {given[name]}."
            )
    return Seq2SeqConfig.from_dict({**given, **sizes})


def _without_sizes(config: Seq2SeqConfig) -> dict[str, Any]:
    excluded = ("format_version", "source_vocab_size", "target_vocab_size")
    return {k: v for k, v in config.to_dict().items() if k not in excluded}


def _length_ratio(
    examples: Examples | ShardedExamples, deviations: float | None
) -> LengthRatio | None:
    if deviations is None:
        return None
    if isinstance(examples, Examples):
        return LengthRatio.from_ids(examples.source, examples.target, deviations)
    # Without </s>.
    source, target = examples.source_lengths - 1, examples.target_lengths - 1
    not_empty = (source > 0) & (target > 0)
    ratios = target[not_empty] / source[not_empty]
    return LengthRatio(float(ratios.mean()), float(ratios.std()), deviations)
