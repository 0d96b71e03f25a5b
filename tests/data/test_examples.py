import numpy as np
import pandas as pd
import pytest

from kseq.data import (
    Examples,
    MosesTokenizer,
    SentencePieceTokenizer,
    Vocabulary,
    WhitespaceTokenizer,
    from_pairs,
)
from kseq.data.batches import epoch_order

SOURCES = ["a b c", "b", "c a", "a"]
TARGETS = ["x y", "z", "z y x w", ""]


@pytest.fixture
def examples() -> Examples:
    return from_pairs(SOURCES, TARGETS)


def test_texts_come_back_as_they_went_in(examples: Examples) -> None:
    assert len(examples) == 4
    assert examples.source_texts() == SOURCES
    assert examples.target_texts() == TARGETS


def test_rows_end_with_the_end_token_and_are_padded_on_the_right(
    examples: Examples,
) -> None:
    assert examples.source.dtype == examples.target.dtype == np.int32
    assert examples.source.shape == (4, 4)
    assert examples.target.shape == (4, 5)
    assert examples.source[1].tolist() == [examples.source_vocab["b"], 3, 0, 0]


def test_the_frame_holds_the_texts(examples: Examples) -> None:
    frame = examples.frame()
    assert list(frame.columns) == ["source", "target"]
    assert frame["source"].tolist() == SOURCES
    assert frame["target"].tolist() == TARGETS


def test_the_decoder_reads_the_start_and_all_but_the_end(examples: Examples) -> None:
    inputs, targets = examples.arrays()
    x, y, z, w = (examples.target_vocab[token] for token in "xyzw")
    assert inputs["encoder_inputs"].tolist() == examples.source.tolist()
    assert targets.tolist() == examples.target.tolist()
    assert inputs["decoder_inputs"].tolist() == [
        [2, x, y, 0, 0],
        [2, z, 0, 0, 0],
        [2, z, y, x, w],
        [2, 0, 0, 0, 0],
    ]
    assert inputs["decoder_inputs"].dtype == np.int32


def test_a_slice_is_a_set_of_its_own(examples: Examples) -> None:
    part = examples[1:3]
    assert isinstance(part, Examples)
    assert part.source_texts() == SOURCES[1:3]
    assert part.source_vocab is examples.source_vocab
    assert part.source.shape[1] == examples.source.shape[1]


@pytest.mark.parametrize(
    "rows", [[3, 0], np.array([3, 0]), np.array([True, False, False, True])]
)
def test_indices_and_masks_pick_pairs(examples: Examples, rows) -> None:
    expected = np.array(TARGETS)[rows].tolist()
    assert examples[rows].target_texts() == expected


def test_a_single_index_is_refused_with_the_way_out(examples: Examples) -> None:
    with pytest.raises(TypeError, match=r"examples\[i : i \+ 1\]"):
        examples[0]


def test_an_empty_choice_is_refused(examples: Examples) -> None:
    with pytest.raises(ValueError, match="at least one of the 4 pairs"):
        examples[4:]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([4, 4, 4], "one </s>"),
        ([4, 3, 3], "one </s>"),
        ([4, 0, 3], "one </s>"),
        ([3, 4, 0], "one </s>"),
        ([2, 4, 3], "one </s>"),
        ([0, 0, 0], "one </s>"),
        ([0, 4, 3], "one </s>"),
        ([0, 3, 4], "one </s>"),
        ([4, 9, 3], r"0\.\.5"),
        ([4, -1, 3], r"0\.\.5"),
        ([4.0, 4.0, 3.0], "dtype float64"),
    ],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_rows_that_are_no_texts_are_refused(row: list, message: str, side: str) -> None:
    vocab = Vocabulary(["a", "b"])
    rows = {"source": [[4, 3, 0]] * 2, "target": [[4, 3, 0]] * 2}
    rows[side] = [[4, 5, 3], row]
    with pytest.raises(ValueError, match=f"`{side}` must .*{message}"):
        Examples(**rows, source_vocab=vocab, target_vocab=vocab)


def test_sides_of_unequal_size_are_refused() -> None:
    vocab = Vocabulary(["a"])
    with pytest.raises(ValueError, match="1 and 2 rows"):
        Examples([[3]], [[3], [3]], vocab, vocab)
    with pytest.raises(TypeError, match="`target_vocab` must be a Vocabulary"):
        Examples([[3]], [[3]], vocab, {"a": 4})  # type: ignore[arg-type]


@pytest.mark.parametrize("as_type", [list, pd.Series, np.array, iter])
def test_pairs_come_from_any_column_of_strings(as_type: type) -> None:
    examples = from_pairs(as_type(SOURCES), as_type(TARGETS))
    assert examples.source_texts() == SOURCES
    assert type(examples.source_vocab.tokens[4]) is str


def test_each_side_may_have_its_own_tokenizer() -> None:
    examples = from_pairs(["ab c"], ["ab c"], target_tokenizer="characters")
    assert set(examples.source_vocab.tokens[4:]) == {"ab", "c"}
    assert set(examples.target_vocab.tokens[4:]) == {"a", "b", " ", "c"}
    assert examples.target_texts() == ["ab c"]


def test_a_shared_vocabulary_is_one_object_with_both_sides_tokens() -> None:
    examples = from_pairs(["a b"], ["b c"], shared_vocab=True)
    assert examples.source_vocab is examples.target_vocab
    assert examples.source_vocab.tokens[4:] == ("b", "a", "c")


def test_given_vocabularies_are_used_and_bring_their_tokenizers() -> None:
    vocab = Vocabulary(["a"], tokenizer="characters")
    examples = from_pairs(["ab"], ["ab"], source_vocab=vocab)
    assert examples.source_vocab is vocab
    assert examples.source_texts() == ["a<unk>"]
    assert examples.target_texts() == ["ab"]


def test_rare_tokens_become_unknown() -> None:
    examples = from_pairs(["a a b"], ["a a b"], min_frequency=2)
    assert examples.source_texts() == ["a a <unk>"]
    assert from_pairs(["a a b"], ["c"], max_size=1).source_texts() == ["a a <unk>"]


@pytest.mark.parametrize(
    ("sources", "targets", "options", "error", "message"),
    [
        (["a"], ["b", "c"], {}, ValueError, "1 sources and 2 targets"),
        ([], [], {}, ValueError, "at least one pair"),
        ("a", ["b"], {}, TypeError, r"`sources` must be a list.*\['a'\]"),
        (["a"], "b", {}, TypeError, r"`targets` must be a list.*\['b'\]"),
        (["a", None], ["b", "c"], {}, TypeError, "None of type NoneType at index 1"),
        (["a"], [float("nan")], {}, TypeError, "`targets` must hold.*nan.*index 0"),
        (["a"], ["b"], {"tokenizer": "bpe"}, ValueError, "Received: 'bpe'"),
        (["a"], ["b"], {"min_frequency": 0}, ValueError, "`min_frequency`"),
        (["a"], ["b"], {"shared_vocab": 1}, TypeError, "`shared_vocab`"),
        (["a"], ["b"], {"source_vocab": ["a"]}, TypeError, "`source_vocab` must be"),
        (
            ["a"],
            ["b"],
            {"source_vocab": Vocabulary(["a"]), "source_tokenizer": "characters"},
            ValueError,
            r"`source_tokenizer` must be the tokenizer of `source_vocab`, Whitespace",
        ),
        (
            ["a"],
            ["b"],
            {"target_vocab": Vocabulary(["a"]), "target_tokenizer": "bpe:9"},
            ValueError,
            r"`target_tokenizer` must be the tokenizer of .*Received: 'bpe:9'",
        ),
        (
            ["a"],
            ["b"],
            {"source_vocab": Vocabulary(["a"]), "lower_case": True},
            ValueError,
            "`lower_case` must agree",
        ),
        (
            ["a"],
            ["b"],
            {"tokenizer": WhitespaceTokenizer(), "lower_case": True},
            ValueError,
            "`lower_case` must agree",
        ),
        (
            ["a"],
            ["b"],
            {"target_vocab": Vocabulary(["a"]), "shared_vocab": True},
            ValueError,
            "as both `source_vocab` and `target_vocab`",
        ),
        (
            ["a"],
            ["b"],
            {"target_tokenizer": "characters", "shared_vocab": True},
            ValueError,
            "different tokenizers",
        ),
    ],
)
def test_bad_pairs_are_refused_by_name(
    sources, targets, options, error, message
) -> None:
    with pytest.raises(error, match=message):
        from_pairs(sources, targets, **options)


def test_each_side_trains_a_tokenizer_of_its_own() -> None:
    sources, targets = ["low lower lowest"], ["neu neuer am neuesten"]
    examples = from_pairs(sources, targets, "bpe:20", target_tokenizer="moses:de")
    assert examples.source_vocab == Vocabulary.build(sources, "bpe:20")
    assert examples.target_vocab.tokenizer == MosesTokenizer("de")
    both = from_pairs(sources, targets, "bpe:20")
    assert both.source_vocab == examples.source_vocab
    assert both.target_vocab == Vocabulary.build(targets, "bpe:20")
    assert (both.source_texts(), both.target_texts()) == (sources, targets)


def test_a_shared_vocabulary_trains_one_tokenizer_on_both_sides() -> None:
    sources, targets = ["low lower lowest"], ["neu neuer am neuesten"]
    examples = from_pairs(sources, targets, "bpe:25", shared_vocab=True)
    assert examples.source_vocab is examples.target_vocab
    trained = SentencePieceTokenizer.train(sources + targets, 25, "bpe")
    assert examples.source_vocab.tokenizer == trained
    assert examples.source_texts() == sources
    assert examples.target_texts() == targets


def test_one_tokenizer_may_be_named_in_two_ways_when_shared() -> None:
    examples = from_pairs(
        ["a b"],
        ["c"],
        source_tokenizer="moses:de",
        target_tokenizer={"name": "moses", "language": "de"},
        shared_vocab=True,
    )
    assert examples.source_vocab is examples.target_vocab


def test_both_sides_are_lower_cased_where_asked() -> None:
    examples = from_pairs(
        ["A b"], ["C"], target_tokenizer="characters", lower_case=True
    )
    assert examples.source_texts() == ["a b"]
    assert examples.target_texts() == ["c"]
    more = from_pairs(
        ["B"],
        ["C"],
        source_vocab=examples.source_vocab,
        target_vocab=examples.target_vocab,
        source_tokenizer="whitespace",
        lower_case=True,
    )
    assert more.source_texts() == ["b"]


def test_a_pydataset_keeps_one_shape_and_covers_each_pair_once() -> None:
    examples = from_pairs([f"{i} " * (i % 7 + 1) for i in range(50)], ["x"] * 50)
    batches = examples.pydataset(batch_size=8, seed=3)
    assert len(batches) == 7
    sizes = [batches[i][1].shape[0] for i in range(7)]
    assert sizes == [8] * 6 + [2]
    rows = np.concatenate([batches[i][0]["encoder_inputs"] for i in range(7)])
    assert rows.tolist() == examples.source[epoch_order(50, 3, 0)].tolist()
    with pytest.raises(IndexError):
        batches[7]


def test_a_pydataset_moves_on_at_the_end_of_an_epoch() -> None:
    examples = from_pairs([str(i) for i in range(50)], ["x"] * 50)
    shuffled, plain = examples.pydataset(50, seed=3), examples.pydataset(50, False)
    for epoch in range(3):
        ids = shuffled[0][0]["encoder_inputs"]
        assert ids.tolist() == examples.source[epoch_order(50, 3, epoch)].tolist()
        assert plain[0][1].tolist() == examples.target.tolist()
        assert plain[0][0]["encoder_inputs"].tolist() == examples.source.tolist()
        shuffled.on_epoch_end()
        plain.on_epoch_end()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": 2, "seed": -1}, ValueError),
        ({"batch_size": 2, "shuffle": 1}, TypeError),
    ],
)
def test_a_pydataset_checks_its_arguments(
    examples: Examples, options: dict, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"`{list(options)[-1]}` must be"):
        examples.pydataset(**options)
