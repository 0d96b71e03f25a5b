"""Scores of output texts against references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kseq.config.checks import check_boolean, check_choice, check_texts

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

# Each metric, and whether a high value is a good one.
_HIGHER_IS_BETTER = {
    "bleu": True,
    "chrf": True,
    "ter": False,
    "exact_match": True,
    "wer": False,
    "per": False,
}
METRICS = tuple(_HIGHER_IS_BETTER)
_OF_SACREBLEU = ("bleu", "chrf", "ter")


class TextScores(dict[str, float]):
    """The scores of texts: a dict from the name of a metric to its value.

    Args:
        scores: Dict of scores.
        signatures: Dict from `"bleu"`, `"chrf"`, `"ter"`, where they are among the
            scores, to sacrebleu's signature of how they were counted.
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
    """Scores outputs against one or several references each.

    Nothing is normalised but by the metric itself. Tokens, where a metric has them,
    are what spaces part; BLEU and TER have tokenizers of their own.

    Args:
        hypotheses: Strings, the outputs; an empty one counts as any other.
        references: For each of them a string, or a list of strings.
        metrics: Any of these, one name or several. Default: all.

            - `"bleu"`, `"chrf"`, `"ter"`: of the whole corpus, by sacrebleu. BLEU and
              chrF lie in 0..100; TER is 0 at best, in percent, with case unless
              `lower_case` is set.
            - `"exact_match"`: share of the outputs, in 0..1, that equal a reference.
            - `"wer"`: share that equals none, 1 - `exact_match`: the word error rate
              of grapheme-to-phoneme conversion, where an output is one word.
            - `"per"`: the phoneme error rate: edits (insertions, deletions and
              substitutions of a token) to the closest reference, summed over all
              outputs, over the sum of the tokens of those references. Of references
              equally close the longest counts. 0 at best, may be above 1.
        sources: Strings, what the outputs are of. Rows of one source are then scored as
            one, with the references of all. Default None: each row by itself.
        tokenize: How BLEU cuts texts: a tokenizer of sacrebleu, such as `"none"` for
            texts whose tokens are parted by spaces already, or `"char"`. Default
            `"13a"`.
        lower_case: Lower-case hypotheses and references first. Default False.

    Returns:
        `TextScores`, a dict of floats in the order of `metrics`, with the attribute
        `signatures`.

    Raises:
        ImportError: If sacrebleu or rapidfuzz is needed and missing.
        TypeError: If an argument has the wrong type.
        ValueError: If there are no outputs, or not as many references or sources; if
            an output has no reference; if a metric or tokenizer is unknown; if rows of
            one source have different outputs; if `"per"` finds no token in any of the
            references.

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
            "`tokenize` is for the metric 'bleu' alone. Received: "
            f"tokenize={tokenize!r}, metrics={names}."
        )
    check_boolean("lower_case", lower_case)
    outputs = check_texts("hypotheses", hypotheses)
    targets = _check_references(references)
    _check_equal("references", targets, "hypotheses", outputs)
    if not outputs:
        raise ValueError("`hypotheses` must hold one output at least. Received: none.")
    if sources is not None:
        outputs, targets = _by_source(check_texts("sources", sources), outputs, targets)
    cased = outputs, targets
    if lower_case:
        outputs = [output.lower() for output in outputs]
        targets = [[text.lower() for text in texts] for texts in targets]
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    for name in names:
        if name in _OF_SACREBLEU:
            metric = _sacrebleu(name, tokenize, lower_case)
            # Lower-cased by itself, so that its signature says so.
            scores[name] = _corpus_score(metric, *cased)
            signatures[name] = str(metric.get_signature())
        elif name == "per":
            scores[name] = _token_error_rate(outputs, targets)
        else:
            rows = zip(outputs, targets, strict=True)
            right = sum(output in texts for output, texts in rows)
            share = right if name == "exact_match" else len(outputs) - right
            scores[name] = share / len(outputs)
    return TextScores(scores, signatures)


def group_references(
    sources: Iterable[str], references: Iterable[str | Iterable[str]]
) -> tuple[list[str], list[list[str]]]:
    """Merges the rows of one source into one row with several references.

    Args:
        sources: Strings.
        references: For each of them a string, or a list of strings.

    Returns:
        A tuple of the sources, each once, in the order in which they first appear, and
        for each the list of its references, likewise.

    Raises:
        TypeError: If one of them does not hold strings.
        ValueError: If there are not as many references as sources, or a source has
            none.

    Example:
        >>> from kseq.evaluation import group_references
        >>> group_references(["READ", "DOG", "READ"], ["R IY D", "D AO G", "R EH D"])
        (['READ', 'DOG'], [['R IY D', 'R EH D'], ['D AO G']])
    """
    texts, targets = check_texts("sources", sources), _check_references(references)
    _check_equal("references", targets, "sources", texts)
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
    """Returns for each output the list of its references."""
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
                "`references` must hold one reference at least for each output. "
                f"Received: none at index {index}."
            )
    return rows


def _check_equal(
    name: str, rows: Sequence[Any], other: str, others: Sequence[Any]
) -> None:
    if len(rows) != len(others):
        raise ValueError(
            f"`{name}` must be as many as `{other}`. Received: {len(rows)} and "
            f"{len(others)}."
        )


def _by_source(
    sources: list[str], outputs: list[str], targets: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Returns an output and all references of each source."""
    _check_equal("sources", sources, "hypotheses", outputs)
    first: dict[str, str] = {}
    for source, output in zip(sources, outputs, strict=True):
        if first.setdefault(source, output) != output:
            raise ValueError(
                "`hypotheses` must be the same for one source wherever `sources` has "
                f"it. Received: {first[source]!r} and {output!r} for {source!r}; leave "
                "`sources` out to score each row by itself."
            )
    return list(first.values()), group_references(sources, targets)[1]


def _sacrebleu(name: str, tokenize: str | None, lower_case: bool) -> Metric:
    """Makes a metric of sacrebleu, after its own defaults but for the case in TER."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ImportError as error:
        raise ImportError(
            f"The metric {name!r} needs sacrebleu, which is missing: "
            "pip install 'kseq[text]'"
        ) from error
    if name == "chrf":
        return CHRF(lowercase=lower_case)
    if name == "ter":
        return TER(case_sensitive=not lower_case)
    if tokenize is not None:
        check_choice("tokenize", tokenize, BLEU.TOKENIZERS)
    # `force` only leaves out the warning about texts that look tokenized.
    return BLEU(lowercase=lower_case, tokenize=tokenize, force=True)


def _corpus_score(
    metric: Metric, outputs: list[str], targets: list[list[str]]
) -> float:
    # sacrebleu wants the first references of all outputs, the second ones, ...; None
    # stands where an output has no more.
    most = max(map(len, targets))
    streams = [
        [texts[k] if k < len(texts) else None for texts in targets] for k in range(most)
    ]
    found = metric.corpus_score(outputs, streams)  # type: ignore[arg-type]
    return float(found.score)


def _token_error_rate(outputs: list[str], targets: list[list[str]]) -> float:
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise ImportError(
            "The metric 'per' needs rapidfuzz, which is missing: "
            "pip install 'kseq[text]'"
        ) from error
    edits = tokens = 0
    for output, texts in zip(outputs, targets, strict=True):
        words = output.split()
        distances = []
        for text in texts:
            reference = text.split()
            # The fewest edits; of equals, the longest reference.
            distances.append((Levenshtein.distance(words, reference), -len(reference)))
        distance, length = min(distances)
        edits += distance
        tokens -= length
    if edits and not tokens:
        raise ValueError(
            "`references` must hold tokens for the metric 'per'. Received: empty ones."
        )
    return edits / tokens if tokens else 0.0
