"""Metrics of output texts, compared with references."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kseq.config.checks import check_boolean, check_choice, check_texts

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

# Whether a higher value of a metric is better.
_HIGHER_IS_BETTER = {
    "bleu": True,
    "chrf": True,
    "ter": False,
    "exact_match": True,
    "wer": False,
    "per": False,
}
METRICS = tuple(_HIGHER_IS_BETTER)
_SACREBLEU_METRICS = ("bleu", "chrf", "ter")


class TextScores(dict[str, float]):
    """A dict from metrics to their values.

    Args:
        scores: Dict from metrics to values.
        signatures: Dict from `"bleu"`, `"chrf"` and `"ter"`, if they are in `scores`,
            to the signatures of sacrebleu, which describe how it computed them.
    """

    def __init__(self, scores: dict[str, float], signatures: dict[str, str]) -> None:
        super().__init__(scores)
        self.signatures = signatures


def evaluate_texts(
    hypotheses: Iterable[str],
    references: Iterable[str | Iterable[str]],
    metrics: str | Sequence[str] = METRICS,
    sources: Iterable[str] | None = None,
    tokenize: str | None = None,
    lower_case: bool = False,
) -> TextScores:
    """Computes metrics of outputs, with one or several references for each.

    Texts are compared as they are, apart from the tokenization of BLEU and TER. Other
    metrics of tokens split texts at spaces.

    Args:
        hypotheses: Strings, the outputs. An empty output counts like any other.
        references: For each output a string, or a list of strings.
        metrics: One name or several. Default: all.

            - `"bleu"`, `"chrf"`, `"ter"`: computed by sacrebleu over the corpus. BLEU
              and chrF are in 0..100. TER is in percent, 0 is the best, and
              case-sensitive unless `lower_case` is True.
            - `"exact_match"`: share of the outputs that equal a reference, in 0..1.
            - `"wer"`: 1 - `exact_match`, the word error rate of grapheme-to-phoneme
              conversion, where each output is one word.
            - `"per"`: phoneme error rate, the number of edits (insertions, deletions
              and substitutions of tokens) to the closest reference, divided by the
              number of tokens in that reference, both summed over all outputs. The
              longest of equally close references counts. 0 is the best; the value may
              exceed 1.
        sources: Strings, the source of each output. Rows with the same source are
            merged into one row with the references of all. Default: None, each row
            counts.
        tokenize: Tokenizer of sacrebleu for BLEU, such as `"none"` for tokens that are
            separated by spaces, or `"char"`. Default: `"13a"`.
        lower_case: Whether to convert hypotheses and references to lower case. Default:
            False.

    Returns:
        `TextScores`, a dict of floats in the order of `metrics`, with the attribute
        `signatures`.

    Raises:
        ImportError: If sacrebleu or rapidfuzz is needed and not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If there are no outputs; if the numbers of outputs, references and
            sources differ; if an output has no reference; if a metric or tokenizer is
            unknown; if rows with the same source have different outputs; if no
            reference has a token for `"per"`.

    Example:
        >>> from kseq.evaluation import evaluate_texts
        >>> outputs = ["K AE T", "D AO G Z"]
        >>> references = ["K AE T", ["D AO G", "D AA G"]]
        >>> evaluate_texts(outputs, references, ["wer", "per"])
        {'wer': 0.5, 'per': 0.16666666666666666}
        >>> scores = evaluate_texts(
        ...     ["A dog runs in the park."], ["The dog runs in the park."], ["bleu"]
        ... )
        >>> round(scores["bleu"], 2)
        80.91
        >>> scores.signatures["bleu"]
        'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:...'

    Reference:
        Post, 2018, "A Call for Clarity in Reporting BLEU Scores".
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        _check_metric(name)
    if tokenize is not None and "bleu" not in names:
        raise ValueError(
            "`tokenize` needs the metric 'bleu'. Received: "
            f"tokenize={tokenize!r}, metrics={names}."
        )
    check_boolean("lower_case", lower_case)
    outputs = check_texts("hypotheses", hypotheses)
    targets = _check_references(references)
    _check_same_length("references", targets, "hypotheses", outputs)
    if not outputs:
        raise ValueError("`hypotheses` must have at least one output. Received: none.")
    if sources is not None:
        outputs, targets = _merge_sources(
            check_texts("sources", sources), outputs, targets
        )
    original = outputs, targets
    if lower_case:
        outputs = [output.lower() for output in outputs]
        targets = [[text.lower() for text in texts] for texts in targets]
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    for name in names:
        if name in _SACREBLEU_METRICS:
            metric = _build_sacrebleu_metric(name, tokenize, lower_case)
            # sacrebleu converts to lower case itself and notes it in the signature.
            scores[name] = _corpus_score(metric, *original)
            signatures[name] = str(metric.get_signature())
        elif name == "per":
            scores[name] = _token_error_rate(outputs, targets)
        else:
            rows = zip(outputs, targets, strict=True)
            correct = sum(output in texts for output, texts in rows)
            count = correct if name == "exact_match" else len(outputs) - correct
            scores[name] = count / len(outputs)
    return TextScores(scores, signatures)


def group_references(
    sources: Iterable[str], references: Iterable[str | Iterable[str]]
) -> tuple[list[str], list[list[str]]]:
    """Merges the rows with the same source into one row with several references.

    Args:
        sources: Strings.
        references: For each source a string, or a list of strings.

    Returns:
        A tuple of two lists: the distinct sources, and for each the list of its
        distinct references, both in the order of their first appearance.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the numbers of sources and references differ, or a source has no
            reference.

    Example:
        >>> from kseq.evaluation import group_references
        >>> group_references(["READ", "DOG", "READ"], ["R IY D", "D AO G", "R EH D"])
        (['READ', 'DOG'], [['R IY D', 'R EH D'], ['D AO G']])
    """
    texts, targets = check_texts("sources", sources), _check_references(references)
    _check_same_length("references", targets, "sources", texts)
    groups: dict[str, dict[str, None]] = {}
    for source, row in zip(texts, targets, strict=True):
        groups.setdefault(source, {}).update(dict.fromkeys(row))
    return list(groups), [list(group) for group in groups.values()]


def _check_metric(name: Any) -> str:
    if name not in METRICS:
        raise ValueError(
            f"`metrics` must be among {', '.join(map(repr, METRICS))}. "
            f"Received: {name!r}."
        )
    return str(name)


def _check_references(references: Iterable[str | Iterable[str]]) -> list[list[str]]:
    """Returns the list of references of each output."""
    if isinstance(references, str) or not isinstance(references, Iterable):
        raise TypeError(
            "`references` must be a list of strings or of lists of strings. Received: "
            f"{references!r}."
        )
    rows = []
    for index, row in enumerate(references):
        texts = [row] if isinstance(row, str) else row
        rows.append(check_texts(f"references[{index}]", texts))
        if not rows[-1]:
            raise ValueError(
                "`references` must have at least one reference for each output. "
                f"Received: none at index {index}."
            )
    return rows


def _check_same_length(
    name: str, rows: Sequence[Any], other: str, others: Sequence[Any]
) -> None:
    if len(rows) != len(others):
        raise ValueError(
            f"`{name}` must have as many items as `{other}`, {len(others)}. Received: "
            f"{len(rows)}."
        )


def _merge_sources(
    sources: list[str], outputs: list[str], targets: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Returns the output and all references of each source."""
    _check_same_length("sources", sources, "hypotheses", outputs)
    first: dict[str, str] = {}
    for source, output in zip(sources, outputs, strict=True):
        if first.setdefault(source, output) != output:
            raise ValueError(
                "`hypotheses` must have one output for each source. Received: "
                f"{first[source]!r} and {output!r} for {source!r}. Leave `sources` out "
                "to evaluate each row by itself."
            )
    return list(first.values()), group_references(sources, targets)[1]


def _build_sacrebleu_metric(
    name: str, tokenize: str | None, lower_case: bool
) -> Metric:
    """Builds a metric with the defaults of sacrebleu, except that TER has case."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ImportError as error:
        raise ImportError(
            f"The metric {name!r} needs sacrebleu: pip install 'kseq[text]'"
        ) from error
    if name == "chrf":
        return CHRF(lowercase=lower_case)
    if name == "ter":
        return TER(case_sensitive=not lower_case)
    if tokenize is not None:
        check_choice("tokenize", tokenize, BLEU.TOKENIZERS)
    # `force` only suppresses the warning about texts that look tokenized.
    return BLEU(lowercase=lower_case, tokenize=tokenize, force=True)


def _corpus_score(
    metric: Metric, outputs: list[str], targets: list[list[str]]
) -> float:
    # sacrebleu takes lists of the first, second, ... references of all outputs, with
    # None for a missing reference.
    columns = list(map(list, itertools.zip_longest(*targets)))
    result = metric.corpus_score(outputs, columns)
    return float(result.score)


def _token_error_rate(outputs: list[str], targets: list[list[str]]) -> float:
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise ImportError(
            "The metric 'per' needs rapidfuzz: pip install 'kseq[text]'"
        ) from error
    edits = tokens = 0
    for output, texts in zip(outputs, targets, strict=True):
        words = output.split()
        distances = []
        for text in texts:
            reference = text.split()
            # The fewest edits first, then the longest reference.
            distances.append((Levenshtein.distance(words, reference), -len(reference)))
        distance, length = min(distances)
        edits += distance
        tokens -= length
    if edits and not tokens:
        raise ValueError(
            "`references` must have tokens for the metric 'per'. Received: empty texts."
        )
    return edits / tokens if tokens else 0.0
