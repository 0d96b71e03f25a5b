"""Metrics of output texts."""

import subprocess
import sys
from typing import Any

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from kseq.config.training import higher_is_better
from kseq.evaluation import (
    METRICS,
    evaluate_texts,
    group_references,
)

OUTPUTS = ["A dog runs in the park.", "Two men are sitting , outside .", ""]
REFERENCES = [
    ["The dog runs in the park.", "A Dog is running in a park ."],
    ["Two men sit outside ."],
    ["Nobody is there.", "", "Empty streets"],
]

texts = st.lists(st.sampled_from("abc"), max_size=5).map(" ".join)
rows = st.lists(
    st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=5
)


def edits(ours: list[str], theirs: list[str]) -> int:
    """The fewest edits, by trying them all."""
    if not ours or not theirs:
        return len(ours) + len(theirs)
    if ours[0] == theirs[0]:
        return edits(ours[1:], theirs[1:])
    return 1 + min(
        edits(ours[1:], theirs), edits(ours, theirs[1:]), edits(ours[1:], theirs[1:])
    )


def streams() -> list[list[Any]]:
    """The references as sacrebleu takes them."""
    return [[row[k] if k < len(row) else None for row in REFERENCES] for k in range(3)]


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize("tokenize", [None, "none", "char"])
def test_bleu_is_that_of_sacrebleu(tokenize: Any, lower_case: bool) -> None:
    expected = sacrebleu.corpus_bleu(
        OUTPUTS,
        streams(),
        tokenize=tokenize or "13a",
        lowercase=lower_case,
    )
    found = evaluate_texts(
        OUTPUTS, REFERENCES, ["bleu"], tokenize=tokenize, lower_case=lower_case
    )
    assert found == {"bleu": expected.score}
    assert 0 < found["bleu"] < 100
    parts = found.signatures["bleu"].split("|")
    assert parts[:2] == ["nrefs:var", f"case:{'lc' if lower_case else 'mixed'}"]
    assert f"tok:{tokenize or '13a'}" in parts
    assert parts[-1] == f"version:{sacrebleu.__version__}"


@pytest.mark.parametrize("lower_case", [False, True])
def test_chrf_and_ter_are_those_of_sacrebleu(lower_case: bool) -> None:
    found = evaluate_texts(OUTPUTS, REFERENCES, ["ter", "chrf"], lower_case=lower_case)
    metrics = {
        "ter": sacrebleu.TER(case_sensitive=not lower_case),
        "chrf": sacrebleu.CHRF(lowercase=lower_case),
    }
    expected = {
        name: metric.corpus_score(OUTPUTS, streams()).score
        for name, metric in metrics.items()
    }
    assert found == expected
    assert list(found) == ["ter", "chrf"] == list(found.signatures)


def test_all_metrics_at_their_best_and_as_a_dict() -> None:
    found = evaluate_texts(["the dog runs in a park"], ["the dog runs in a park"])
    assert list(found) == list(METRICS)
    best = {"bleu": 100, "chrf": 100, "ter": 0, "exact_match": 1, "wer": 0, "per": 0}
    assert dict(found) == pytest.approx(best)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("metric", METRICS)
def test_a_better_output_has_the_better_score(metric: str) -> None:
    right, wrong = "a b c d e f", "a c c d e f"
    better, worse = (
        evaluate_texts([text, right], [right, right], metric)[metric]
        for text in (right, wrong)
    )
    assert (better > worse) == higher_is_better(metric)
    assert better != worse


def test_outputs_may_all_be_empty() -> None:
    found = evaluate_texts(["", ""], ["a b c d", "e"])
    assert dict(found) == {
        "bleu": 0,
        "chrf": 0,
        "ter": 100,
        "exact_match": 0,
        "wer": 1,
        "per": 1,
    }


def test_an_empty_reference_is_matched_by_an_empty_output() -> None:
    found = evaluate_texts(["", "a"], ["", "b"], ["wer", "per"])
    assert found == {"wer": 0.5, "per": 1.0}
    assert evaluate_texts([""], [""], ["wer", "per"]) == {"wer": 0.0, "per": 0.0}


@given(rows)
def test_an_output_is_either_right_or_wrong(data: list[Any]) -> None:
    outputs, references = zip(*data, strict=True)
    found = evaluate_texts(outputs, references, ["exact_match", "wer"])
    assert found["exact_match"] + found["wer"] == pytest.approx(1)
    right = [output in row for output, row in data]
    assert found["exact_match"] == pytest.approx(sum(right) / len(right))


@given(rows)
def test_the_token_error_rate_is_that_of_all_edits_tried(data: list[Any]) -> None:
    outputs, references = zip(*data, strict=True)
    total = tokens = 0
    for output, row in data:
        cut = [text.split() for text in row]
        distances = [edits(output.split(), each) for each in cut]
        total += min(distances)
        tokens += max(
            len(each)
            for each, distance in zip(cut, distances, strict=True)
            if distance == min(distances)
        )
    if total and not tokens:
        with pytest.raises(ValueError, match="`references` must have tokens"):
            evaluate_texts(outputs, references, "per")
        return
    found = evaluate_texts(outputs, references, ["per", "wer"])
    assert found["per"] == pytest.approx(total / tokens if tokens else 0)
    assert (found["per"] == 0) == (found["wer"] == 0)


def test_of_references_equally_close_the_longest_counts() -> None:
    assert evaluate_texts(["a b"], [["a", "a b c"]], "per") == {"per": 1 / 3}
    assert evaluate_texts(["a b"], [["a b c", "a"]], "per") == {"per": 1 / 3}


def test_case_and_spaces_count_unless_said_otherwise() -> None:
    for lower_case, edits_in_percent in ((False, 25), (True, 0)):
        found = evaluate_texts(["A b c d"], ["a b c d"], "ter", lower_case=lower_case)
        assert found == {"ter": edits_in_percent}
    names = ["exact_match", "per"]
    assert evaluate_texts(["A b"], ["a b"], names) == {"exact_match": 0, "per": 0.5}
    assert evaluate_texts(["A b"], ["a B"], names, lower_case=True) == {
        "exact_match": 1,
        "per": 0,
    }
    assert evaluate_texts(["a  b"], ["a b"], names) == {"exact_match": 0, "per": 0}


@given(st.lists(st.tuples(st.sampled_from("xyz"), texts), max_size=8))
def test_grouped_references_are_those_of_each_source(pairs: list[Any]) -> None:
    sources = [source for source, _ in pairs]
    found, references = group_references(sources, [text for _, text in pairs])
    assert found == sorted(set(sources), key=sources.index)
    for source, row in zip(found, references, strict=True):
        own = [text for each, text in pairs if each == source]
        assert row == sorted(set(own), key=own.index)


def test_lists_of_references_are_merged() -> None:
    found = group_references(["x", "y", "x"], [["a", "b"], "a", ["c", "a"]])
    assert found == (["x", "y"], [["a", "b", "c"], ["a"]])


def test_rows_of_one_source_are_scored_as_one() -> None:
    found = evaluate_texts(
        ["r iy d", "d ao g", "r iy d"],
        ["r eh d", "d aa g", "r iy d"],
        ["wer", "per"],
        sources=["read", "dog", "read"],
    )
    assert found == {"wer": 0.5, "per": 1 / 6}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"hypotheses": []},
            ValueError,
            "as many items as `hypotheses`, 0. Received: 1",
        ),
        ({"hypotheses": [], "references": []}, ValueError, "at least one output"),
        ({"hypotheses": ["a", "b"]}, ValueError, "`hypotheses`, 2. Received: 1"),
        ({"hypotheses": "a"}, TypeError, "`hypotheses` must be a list of strings"),
        ({"hypotheses": [None]}, TypeError, "`hypotheses` .*None .*index 0"),
        ({"references": "b"}, TypeError, "`references` .*'b'"),
        ({"references": [3]}, TypeError, r"`references\[0\]` must be a list"),
        ({"references": [["a", 3]]}, TypeError, r"`references\[0\]` .*index 1"),
        ({"references": [[]]}, ValueError, "none at index 0"),
        ({"metrics": ["bleu", "rouge"]}, ValueError, "'per'. Received: 'rouge'"),
        ({"tokenize": "14a"}, ValueError, "`tokenize` .*'13a'.*Received: '14a'"),
        (
            {"tokenize": "none", "metrics": ["wer"]},
            ValueError,
            "`tokenize` needs the metric 'bleu'",
        ),
        ({"lower_case": 1}, TypeError, "`lower_case` must be True or False"),
        ({"sources": ["x", "y"]}, ValueError, "`sources` must have as many"),
        (
            {
                "hypotheses": ["a", "b"],
                "references": ["a", "b"],
                "sources": ["x", "x"],
            },
            ValueError,
            "'a' and 'b' for 'x'. Leave `sources` out",
        ),
    ],
)
def test_a_mistake_is_refused(
    arguments: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate_texts(**{"hypotheses": ["a"], "references": ["b"], **arguments})


def test_mistakes_beside_the_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="Received: 'los'"):
        higher_is_better("los")
    with pytest.raises(ValueError, match="as many items as `sources`"):
        group_references(["x", "y"], ["a"])


@pytest.mark.parametrize(
    ("module", "metric"),
    [("sacrebleu", "bleu"), ("sacrebleu", "ter"), ("rapidfuzz", "per")],
)
def test_a_missing_library_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, module: str, metric: str
) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    assert evaluate_texts(["a"], ["a"], "wer") == {"wer": 0}
    with pytest.raises(ImportError, match=rf"{module}.*pip install 'kseq\[text\]'"):
        evaluate_texts(["a"], ["a"], metric)


def test_scores_need_neither_tensorflow_nor_the_libraries_until_asked() -> None:
    script = (
        "import sys, kseq.evaluation as e; e.evaluate_texts(['a'], ['a'], ['wer']);"
        "print(sorted({'tensorflow', 'keras', 'sacrebleu', 'rapidfuzz'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
