"""What a model is worth on validation data, in the metrics that were asked for."""

from collections.abc import Sequence
from typing import Any

from kseq import evaluation
from kseq.config.training import MODEL_METRICS, TEXT_METRICS, TrainingSettings
from kseq.data.datasets import validation_dataset
from kseq.data.examples import Examples
from kseq.data.shards import ShardedExamples
from kseq.decoding import BeamSearch, LengthRatio
from kseq.models import Seq2Seq, perplexity


class Validation:
    """The validation data of a training run.

    Args:
        examples: The training data, whose vocabularies it has.
        validation: Source texts and target texts.
        settings: `TrainingSettings`.

    Raises:
        ValueError: If there are no pairs, or not as many targets as sources.
    """

    def __init__(
        self,
        examples: Examples | ShardedExamples,
        validation: tuple[Sequence[str], Sequence[str]],
        settings: TrainingSettings,
    ) -> None:
        sources, targets = (list(side) for side in validation)
        if len(sources) != len(targets) or not sources:
            raise ValueError(
                "`validation` must hold as many source texts as target texts, one at "
                f"least. Received: {len(sources)} and {len(targets)}."
            )
        self.settings = settings
        self.examples = Examples(
            examples.source_vocab.encode(sources),
            examples.target_vocab.encode(targets),
            examples.source_vocab,
            examples.target_vocab,
        )
        grouped = evaluation.group_references(sources, targets)
        self.sources = grouped[0][: settings.decode_pairs]
        # No model is blamed for capitals that it does not know, nor for the spaces that
        # its tokenizer puts between a word and a comma.
        normalize = examples.target_vocab.normalize_reference
        self.references = [
            [normalize(text) for text in texts]
            for texts in grouped[1][: settings.decode_pairs]
        ]
        self.ids = examples.source_vocab.encode(self.sources)

    def measure(
        self, model: Seq2Seq, strategy: Any, length_ratio: LengthRatio | None
    ) -> tuple[dict[str, float], list[str]]:
        """Measures a model.

        Args:
            model: The compiled model.
            strategy: The strategy that it trains under, if it is not one device.
            length_ratio: How long outputs may become.

        Returns:
            The metrics by name, the loss and the perplexity always among them; and the
            outputs, where a metric has needed them.
        """
        settings = self.settings
        logs = model.evaluate(
            validation_dataset(
                self.examples, settings.validation_batch_size, strategy=strategy
            ),
            verbose=0,
            return_dict=True,
        )
        found = {
            name: float(logs[name])
            for name in MODEL_METRICS
            if name in settings.metrics or name in ("loss", "perplexity")
        }
        if "free_running_perplexity" in settings.metrics:
            found["free_running_perplexity"] = perplexity(
                model,
                self.examples.source,
                self.examples.target,
                free_running=True,
                batch_size=settings.validation_batch_size,
            )
        wanted = [name for name in settings.metrics if name in TEXT_METRICS]
        outputs: list[str] = []
        if wanted:
            width = settings.beam_width
            hypotheses = model.generate(
                self.ids,
                "greedy" if width == 1 else BeamSearch(beam_width=width),
                max_length=length_ratio,
                batch_size=settings.validation_batch_size,
            )
            outputs = self.examples.target_vocab.decode(hypotheses.tokens)
            found |= evaluation.evaluate_texts(outputs, self.references, wanted)
        return found, outputs
