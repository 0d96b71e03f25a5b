"""Ensembles: several models that decode as one."""

from collections.abc import Sequence
from typing import Any

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_choice
from kseq.decoding import Hypotheses
from kseq.decoding.ensembles import AVERAGINGS
from kseq.models.compiled_functions import CompiledCache
from kseq.models.generator import Generator
from kseq.models.inputs import check_source
from kseq.models.seq2seq import Seq2Seq


class Ensemble:
    """An ensemble: averages the distributions of several models at each step.

    The models must have the same source vocabulary (or features) and the same target
    vocabulary. Everything else can differ.

    Args:
        models: List of `Seq2Seq` models.
        averaging: `"linear"`: the mean of the probabilities; `"log_linear"`: the mean
            of the log-probabilities, normalized again. Default: `"linear"`.

    Attributes:
        models: List of the models.
        averaging: `"linear"` or `"log_linear"`.

    Raises:
        TypeError: If a model is not a `Seq2Seq`.
        ValueError: If there is no model, if the vocabularies differ, or if `averaging`
            is unknown.

    Example:
        >>> from kseq import Ensemble, build_seq2seq
        >>> sizes = {"source_vocab_size": 11, "target_vocab_size": 11}
        >>> small = build_seq2seq(**sizes, units=8)
        >>> large = build_seq2seq(**sizes, units=16, attention="dot", cell="gru")
        >>> both = Ensemble([small, large])
        >>> both.generate([[5, 6, 3]], "beam", max_length=4).tokens.shape[:2]
        (1, 1)

    Reference:
        Sockeye 1.18 (linear and log-linear ensembles).
    """

    def __init__(self, models: Sequence[Seq2Seq], averaging: str = "linear") -> None:
        models = list(models)
        for model in models:
            if not isinstance(model, Seq2Seq):
                raise TypeError(
                    "`models` must be a list of kseq.Seq2Seq. Received: one of type "
                    f"{type(model).__name__}."
                )
        if not models:
            raise ValueError("`models` must hold at least one model. Received: none.")
        check_choice("averaging", averaging, AVERAGINGS)
        for name in ("source_vocab_size", "source_feature_dim", "target_vocab_size"):
            values = [getattr(model.config, name) for model in models]
            if len(set(values)) > 1:
                raise ValueError(
                    f"`models` must have the same `{name}`. Received: {values}."
                )
        self.models = models
        self.averaging = averaging
        self.compiled_cache = CompiledCache(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy compiles its own functions.
        return type(self), (self.models, self.averaging)

    @property
    def config(self) -> Seq2SeqConfig:
        """The configuration of the first model."""
        return self.models[0].config

    def generate(
        self,
        source: Any,
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        return_attention: bool = False,
        prefix: Any = None,
    ) -> Hypotheses:
        """Decodes sources with all models together.

        Arguments, errors and results are those of `Seq2Seq.generate`. Attention weights
        are the mean over the models.
        """
        source = check_source(source, self.config.encoder)
        return self._generator()(
            source, search, max_length, batch_size, return_attention, prefix
        )

    def _generator(self) -> Generator:
        def make() -> Generator:
            members = [model.search_member() for model in self.models]
            return Generator(members, self.averaging, self.compiled_cache.compile)

        return self.compiled_cache.get("generator", make)
