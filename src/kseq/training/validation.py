"""Validation metrics and sample outputs of a model in training."""

import logging
from collections.abc import Sequence
from typing import Any

from kseq import evaluation
from kseq._compat.keras_random import preserved_seeds
from kseq.config.training import MODEL_METRICS, TEXT_METRICS, TrainingSettings
from kseq.data.corpora.lines import as_line
from kseq.data.datasets import validation_dataset
from kseq.data.examples import Examples
from kseq.data.shards import ShardedExamples
from kseq.decoding import BeamSearch, LengthRatio
from kseq.models import Seq2Seq, perplexity

log = logging.getLogger("kseq")


class Validation:
    """The validation data of a training run.

    Neither measuring nor logging outputs changes the course of the training.

    Args:
        examples: The training data, for its vocabularies.
        validation: Source texts and target texts.
        settings: `TrainingSettings`.
        length_ratio: Maximum length of outputs. Default: as in `Seq2Seq.generate`.

    Raises:
        ValueError: If there are no pairs, or the numbers of texts differ.
    """

    def __init__(
        self,
        examples: Examples | ShardedExamples,
        validation: tuple[Sequence[str], Sequence[str]],
        settings: TrainingSettings,
        length_ratio: LengthRatio | None = None,
    ) -> None:
        sources, targets = (list(side) for side in validation)
        if len(sources) != len(targets) or not sources:
            raise ValueError(
                "`validation` must hold as many source texts as target texts, at least "
                f"one of each. Received: {len(sources)} and {len(targets)}."
            )
        self.texts = sources, targets
        self.settings = settings
        self.length_ratio = length_ratio
        self.examples = Examples(
            examples.source_vocab.encode(sources),
            examples.target_vocab.encode(targets),
            examples.source_vocab,
            examples.target_vocab,
        )
        sources, references = evaluation.group_references(sources, targets)
        self.sources = sources[: settings.decode_pairs]
        # In the letter case and spacing that the tokenizer gives to outputs.
        normalize = examples.target_vocab.normalize_reference
        self.references = [
            [normalize(text) for text in texts]
            for texts in references[: settings.decode_pairs]
        ]
        self.ids = examples.source_vocab.encode(self.sources)

    def measure(
        self, model: Seq2Seq, strategy: Any = None
    ) -> tuple[dict[str, float], list[str]]:
        """Computes the validation metrics of a model.

        Args:
            model: The compiled model.
            strategy: Its strategy if it trains on several devices. Default: none.

        Returns:
            The metrics by name, always with the loss and the perplexity; and the
            outputs, if a metric needs them.
        """
        settings = self.settings
        with preserved_seeds(model):
            logs = model.evaluate(
                validation_dataset(
                    self.examples, settings.validation_batch_size, strategy=strategy
                ),
                verbose=0,
                return_dict=True,
            )
            metrics = {
                name: float(logs[name])
                for name in MODEL_METRICS
                if name in settings.metrics or name in ("loss", "perplexity")
            }
            if "free_running_perplexity" in settings.metrics:
                metrics["free_running_perplexity"] = perplexity(
                    model,
                    self.examples.source,
                    self.examples.target,
                    free_running=True,
                    batch_size=settings.validation_batch_size,
                )
            names = [name for name in settings.metrics if name in TEXT_METRICS]
            outputs: list[str] = []
            if names:
                width = settings.beam_width
                hypotheses = model.generate(
                    self.ids,
                    "greedy" if width == 1 else BeamSearch(beam_width=width),
                    max_length=self.length_ratio,
                    batch_size=settings.validation_batch_size,
                )
                outputs = self.examples.target_vocab.decode(hypotheses.tokens)
                metrics |= evaluation.evaluate_texts(outputs, self.references, names)
        return metrics, outputs

    def log_outputs(self, model: Seq2Seq, outputs: Sequence[str]) -> None:
        """Logs outputs for the first validation sources and for `show_sources`."""
        count = self.settings.show
        self._log(
            model,
            [*self.sources[:count], *self.settings.show_sources],
            outputs[:count],
            [texts[0] for texts in self.references[:count]],
        )

    def log_chosen_outputs(self, model: Seq2Seq, prefix: str) -> None:
        """Logs outputs for `show_sources`."""
        self._log(model, self.settings.show_sources, prefix=prefix)

    def _log(
        self,
        model: Seq2Seq,
        sources: Sequence[str],
        outputs: Sequence[str] = (),
        references: Sequence[str] = (),
        prefix: str = "  ",
    ) -> None:
        """Logs a line for each source; decodes the sources without an output."""
        outputs, missing = list(outputs), sources[len(outputs) :]
        if missing:
            ids = self.examples.source_vocab.encode(missing)
            with preserved_seeds(model):
                hypotheses = model.generate(ids, max_length=self.length_ratio)
            outputs += self.examples.target_vocab.decode(hypotheses.tokens)
        for k, (source, output) in enumerate(zip(sources, outputs, strict=True)):
            line = f"{prefix}{source}  ->  {output}"
            if k < len(references) and references[k] != output:
                line += f"   (reference: {references[k]})"
            log.info("%s", as_line(line))
