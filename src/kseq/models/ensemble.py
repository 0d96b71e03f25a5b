"""Several models that decode as one."""

from collections.abc import Sequence
from typing import Any

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_choice
from kseq.decoding import Hypotheses
from kseq.decoding.ensembles import AVERAGINGS
from kseq.models.compiled_functions import Derived
from kseq.models.generator import Generator, check_source
from kseq.models.seq2seq import Seq2Seq


class Ensemble:
    """Several models whose distributions are averaged at every step.

    The models may differ in everything but what they read and write: the source's
    vocabulary or features, and the target's vocabulary.

    Args:
        models: The `Seq2Seq` models.
        averaging: `"linear"` (default), the mean of the probabilities, or
            `"log_linear"`, that of their logarithms, normalised again.

    Attributes:
        models: The models.
        averaging: As given.

    Raises:
        TypeError: If one is not a `Seq2Seq`.
        ValueError: If there is none, if they do not fit together, or if `averaging` is
            unknown.

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
            raise ValueError("`models` must hold one model at least. Received: none.")
        check_choice("averaging", averaging, AVERAGINGS)
        for name, of in (
            ("source_vocab_size", lambda config: config.source_vocab_size),
            ("source_feature_dim", lambda config: config.source_feature_dim),
            ("target_vocab_size", lambda config: config.target_vocab_size),
        ):
            values = [of(model.config) for model in models]
            if len(set(values)) > 1:
                raise ValueError(
                    f"`models` must have one `{name}`. Received: {values}."
                )
        self.models = models
        self.averaging = averaging
        self.derived = Derived(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled and copied by its models: what is compiled is compiled anew.
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

        Its arguments, errors and result are those of `Seq2Seq.generate`; attention
        weights are the mean over the models.
        """
        source = check_source(source, self.config.encoder)
        return self._searches()(
            source, search, max_length, batch_size, return_attention, prefix
        )

    def _searches(self) -> Generator:
        def make() -> Generator:
            members = [model.search_member() for model in self.models]
            return Generator(members, self.averaging, self.derived.compiled)

        return self.derived.get("searches", make)
