"""`model.generate`: checked sources in, hypotheses out."""

import dataclasses
import resource
from typing import Any

import keras
import numpy as np
import pytest

from kseq import Seq2Seq, build_inference_models, build_seq2seq, score
from kseq.decoding import BeamSearch, Greedy, LengthRatio, Sampling, get

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
    # Random weights that are large: the outputs tell the sources apart.
    "kernel_initializer": "uniform",
    "initializer_scale": 1.5,
}
FEATURES: dict[str, Any] = {
    "source_vocab_size": None,
    "source_representation": "features",
    "source_feature_dim": 3,
}
IDS = np.array(
    [
        [5, 6, 7, 3, 0],
        [9, 3, 0, 0, 0],
        [10, 4, 8, 6, 3],
        [3, 0, 0, 0, 0],
        [7, 5, 3, 0, 0],
    ]
)


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return make()


@pytest.fixture(scope="module")
def features_model() -> Seq2Seq:
    return make(**FEATURES)


def by_hand(model: Seq2Seq, source: np.ndarray, limit: int) -> tuple[list[int], float]:
    """Greedy decoding of one row by the training model alone."""
    tokens, score = [2], 0.0
    while len(tokens) <= limit and tokens[-1] != 3:
        feed = {"encoder_inputs": source[None], "decoder_inputs": np.array([tokens])}
        logits = model(feed).numpy()[0, -1].astype("float64")
        log_probs = logits - np.log(np.exp(logits).sum())
        log_probs[[0, 2]] = -np.inf
        tokens.append(int(log_probs.argmax()))
        score += log_probs[tokens[-1]]
    return tokens[1:], score


def test_it_is_greedy_search_with_the_trained_model(model: Seq2Seq) -> None:
    found = model.generate(IDS)
    outputs = []
    for row, source in enumerate(IDS):
        length = int((source != 0).sum())
        tokens, score = by_hand(model, source[:length], 2 * length + 10)
        outputs.append(tokens)
        assert found.tokens[row, 0, : len(tokens)].tolist() == tokens
        assert not np.any(found.tokens[row, 0, len(tokens) :])
        assert found.lengths[row, 0] == len(tokens)
        assert found.truncated[row, 0] == (tokens[-1] != 3)
        assert found.scores[row, 0] == pytest.approx(score, abs=1e-4)
    assert len({tuple(tokens) for tokens in outputs}) > 2


def test_the_hypotheses_have_the_promised_shapes_and_dtypes(model: Seq2Seq) -> None:
    found = model.generate(IDS.tolist(), max_length=3)
    assert len(found) == 5
    assert found.tokens.shape == (5, 1, 3)
    assert found.tokens.dtype == found.lengths.dtype == "int32"
    assert (found.scores.dtype, found.truncated.dtype) == ("float64", "bool")
    assert found.lengths.shape == found.scores.shape == found.truncated.shape == (5, 1)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99, np.int64(3)])
def test_the_batch_size_changes_nothing(model: Seq2Seq, batch_size: int) -> None:
    expected, found = model.generate(IDS), model.generate(IDS, batch_size=batch_size)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_more_padding_changes_nothing(model: Seq2Seq) -> None:
    expected, found = model.generate(IDS), model.generate(np.pad(IDS, [(0, 0), (0, 4)]))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("bias", [-30.0, 30.0])
def test_the_default_maximum_is_twice_the_source_and_ten(bias: float) -> None:
    model = make()
    biases = np.zeros(12)
    biases[3] = bias  # never, or always, `</s>`
    model.get_layer("decoder_output").bias.assign(biases)
    found = model.generate(IDS)
    lengths = (IDS != 0).sum(axis=1)
    expected = [1] * 5 if bias > 0 else (2 * lengths + 10).tolist()
    assert found.lengths[:, 0].tolist() == expected
    assert found.truncated[:, 0].tolist() == [bias < 0] * 5


@pytest.mark.parametrize("max_length", [1, 4, np.int32(4)])
def test_no_output_is_longer_than_the_maximum(model: Seq2Seq, max_length: int) -> None:
    full, cut = model.generate(IDS), model.generate(IDS, max_length=max_length)
    np.testing.assert_array_equal(cut.tokens, full.tokens[:, :, :max_length])
    np.testing.assert_array_equal(cut.truncated, full.lengths > max_length)


@pytest.mark.parametrize("name", ["max_length", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", True])
def test_sizes_are_whole_and_positive(model: Seq2Seq, name: str, value: Any) -> None:
    message = rf"`{name}` must be an integer (of at least 1|in \[1, ).* {value!r}"
    with pytest.raises((TypeError, ValueError), match=message):
        model.generate(IDS, **{name: value})


def test_a_batch_size_is_needed(model: Seq2Seq) -> None:
    with pytest.raises(TypeError, match=r"`batch_size` .*None"):
        model.generate(IDS, batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([[5.0, 3.0]], "integer ids.*dtype float64"),
        ([["5", "3"]], "integer ids.*dtype <U1"),
        ([[True, False]], "integer ids.*dtype bool"),
        ([[5, 3], [3]], "rows padded with 0 on the right to one length.*object"),
        ([5, 3], r"ids \(batch, time\), of rank 2.*\(2,\)"),
        ([[[5], [3]]], r"one-hot vectors .*\(1, 2, 1\)"),
        (np.zeros((2, 0), int), r"at least one step.*</s>.*\(2, 0\)"),
        ([[5, 3], [11, 3]], r"0\.\.10.*11 in row 1"),
        ([[5, 3], [6, -1]], r"0\.\.10.*-1 in row 1"),
        ([[5, 3], [0, 0]], r"row 1 is padding only.*</s>"),
        ([[5, 3, 0], [0, 5, 3]], "padded on the right: row 1"),
        ([[5, 3, 0], [5, 0, 3]], "padded on the right: row 1"),
        (None, "integer ids.*object"),
    ],
)
def test_a_bad_source_is_named(model: Seq2Seq, source: Any, message: str) -> None:
    with pytest.raises(ValueError, match="`source` must .*" + message):
        model.generate(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((2, 4, 3), int), "float vectors.*dtype int64"),
        (np.ones((2, 4)), r"vectors \(batch, time, 3\), of rank 3.*\(2, 4\)"),
        (np.ones((2, 4, 5)), r"\(batch, time, 3\).*\(2, 4, 5\)"),
        (np.full((2, 4, 3), np.nan), "finite.*nan or inf"),
        (np.zeros((2, 4, 3)), "row 0 is padding only"),
        (np.eye(4)[None, :, 1:], "padded on the right: row 0"),
    ],
)
def test_bad_features_are_named(
    features_model: Seq2Seq, source: Any, message: str
) -> None:
    with pytest.raises(ValueError, match="`source` must .*" + message):
        features_model.generate(source)


def test_features_are_decoded(features_model: Seq2Seq) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4, 3))
    vectors[1, 2:] = 0
    found = features_model.generate(vectors)
    for row, length in enumerate([4, 2, 4]):
        alone = features_model.generate(vectors[row : row + 1, :length])
        size = alone.lengths[0, 0]
        assert found.tokens[row, 0, :size].tolist() == alone.tokens[0, 0].tolist()


def test_no_rows_give_no_hypotheses(model: Seq2Seq) -> None:
    found = model.generate(np.zeros((0, 4), int))
    assert (len(found), found.tokens.shape[:2]) == (0, (0, 1))


def test_what_training_changes_shows_in_the_next_decoding() -> None:
    model = make()
    before = model.generate(IDS).tokens
    model.get_layer("decoder_output").bias.assign(np.eye(12)[7] * 99)
    after = model.generate(IDS, max_length=2).tokens
    assert before[0, 0, 0] != 7
    assert after.tolist() == [[[7, 7]]] * 5


def test_a_diverged_model_says_so_and_names_the_row() -> None:
    model = make()
    model.get_layer("encoder_embedding").embeddings.assign(
        np.where(np.arange(11)[:, None] == 9, np.nan, 0.1) * np.ones((11, 4))
    )
    with pytest.raises(ValueError, match=r"row 1 of `source`.*not finite.*diverged"):
        model.generate(IDS)
    with pytest.raises(ValueError, match="row 1 of `source`"):
        model.generate(IDS, batch_size=1)


def test_dropout_is_off() -> None:
    settings = {"embedding_dropout": 0.5, "recurrent_dropout": 0.5}
    model, plain = make(**settings), make()
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        model.generate(IDS).tokens, plain.generate(IDS).tokens
    )


def test_inference_models_give_the_same_tokens_step_by_step(model: Seq2Seq) -> None:
    inference = build_inference_models(model)
    encoded = inference.encoder(IDS)
    states, token = encoded["states"], keras.ops.full((5,), 2, dtype="int32")
    outputs = []
    for _ in range(6):
        step = inference.decoder_step({**encoded, "token": token, "states": states})
        logits = step["logits"].numpy()
        logits[:, [0, 2]] = -np.inf
        token, states = keras.ops.argmax(logits, axis=-1), step["states"]
        outputs.append(token.numpy())
    found = model.generate(IDS, max_length=6)
    for row, length in enumerate(found.lengths[:, 0]):
        expected = [int(tokens[row]) for tokens in outputs[:length]]
        assert found.tokens[row, 0, :length].tolist() == expected


@pytest.mark.parametrize(
    "search",
    [
        "beam",
        {"class_name": "beam", "config": {"beam_width": 3, "n": 2}},
        BeamSearch(beam_width=20, n=4, coverage_penalty=0.2),
        Sampling(n=3, seed=1),
        "sampling",
        Greedy(no_repeat_ngram_size=2),
    ],
)
def test_a_search_is_named_described_or_given(search: Any) -> None:
    model = make(attention="general")
    found = model.generate(IDS, search, max_length=5)
    n = get(search).n
    assert found.scores.shape == (5, n)
    assert found.tokens.shape[:2] == found.log_probs.shape[:2] == (5, n)
    np.testing.assert_allclose(found.log_probs.sum(axis=-1), found.scores, atol=1e-5)
    forced = score(model, IDS, found.tokens)
    np.testing.assert_allclose(found.log_probs, forced, atol=1e-5)


def test_an_unknown_search_is_named(model: Seq2Seq) -> None:
    with pytest.raises(ValueError, match=r"'greedy', 'sampling', 'beam'.*'best'"):
        model.generate(IDS, "best")
    with pytest.raises(ValueError, match=r"`forbidden`.*0\.\.11.*12"):
        model.generate(IDS, Greedy(forbidden=[[5, 12]]))
    with pytest.raises(ValueError, match="`coverage_penalty` needs a model"):
        model.generate(IDS, BeamSearch(coverage_penalty=0.1))


@pytest.mark.parametrize("search", ["greedy", "beam", Sampling(n=2, seed=3)])
def test_the_inference_models_decode_as_the_model_does(search: Any) -> None:
    for settings in (
        {},
        {"attention": "general", "input_feeding": True, "decoder_layers": 2},
        {"attention": "location_sensitive", "cell": "gru", "stabilizer": "separate"},
        {"attention": "multi_head_dot", "attention_previous_word": True},
    ):
        model = make(**settings)
        expected = model.generate(IDS, search, max_length=6)
        found = build_inference_models(model).generate(IDS, search, max_length=6)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)


def test_a_changed_step_decodes_its_own_way(model: Seq2Seq) -> None:
    inference = build_inference_models(model)
    outputs = dict(inference.decoder_step.output)
    outputs["logits"] = -outputs["logits"]
    step = keras.Model(inference.decoder_step.input, outputs)
    opposite = dataclasses.replace(inference, decoder_step=step)
    tokens = opposite.generate(IDS, max_length=1).tokens
    assert (tokens != inference.generate(IDS, max_length=1).tokens).all()


def test_half_precision_folds_too() -> None:
    model = build_seq2seq(**SIZES, attention="general", dtype="mixed_bfloat16")
    found = model.generate(IDS, "beam", max_length=4)
    plain = build_inference_models(model).generate(IDS, "beam", max_length=4)
    assert found.scores.dtype == "float64"
    np.testing.assert_allclose(found.scores, plain.scores, rtol=0.05)


@pytest.mark.parametrize("sources", [1, 40])
def test_tables_of_all_tokens_change_nothing(sources: int) -> None:
    # One source looks up fewer tokens than there are: its step multiplies vectors.
    model = make(target_vocab_size=60)
    many = np.tile(IDS[:1], (sources, 1))
    found = model.generate(many, "beam", max_length=6)
    plain = build_inference_models(model).generate(many, "beam", max_length=6)
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-4)


def test_an_output_goes_on_from_its_prefix(model: Seq2Seq) -> None:
    prefix = np.array([[5, 6], [7, 0], [0, 0], [8, 8], [9, 0]])
    for search in ("greedy", "beam", "sampling"):
        found = model.generate(IDS, search, max_length=6, prefix=prefix)
        free = model.generate(IDS, search, max_length=6)
        for row, wanted in enumerate(prefix):
            wanted = wanted[wanted != 0]
            assert found.tokens[row, 0, : len(wanted)].tolist() == wanted.tolist()
        np.testing.assert_allclose(found.scores[2], free.scores[2], atol=1e-5)
        forced = score(model, IDS, found.tokens)
        np.testing.assert_allclose(found.log_probs, forced, atol=1e-5)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ([[5]], r"shape \(5, time\).*\(1, 1\)"),
        ([[5.0]] * 5, "dtype float64"),
        ([[5, 0]] * 4 + [[0, 5]], r"padded with 0.*\[0, 5\] in row 4"),
        ([[3]] * 5, r"without <s> and </s>.*\[3\] in row 0"),
        ([[12]] * 5, r"0\.\.11"),
    ],
)
def test_a_bad_prefix_is_named(model: Seq2Seq, prefix: Any, message: str) -> None:
    with pytest.raises(ValueError, match="`prefix` must be .*" + message):
        model.generate(IDS, prefix=prefix)


def test_each_row_may_have_its_maximum(model: Seq2Seq) -> None:
    limits = np.array([1, 2, 3, 4, 5])
    full, found = model.generate(IDS), model.generate(IDS, max_length=limits)
    expected = np.minimum(full.lengths[:, 0], limits)
    np.testing.assert_array_equal(found.lengths[:, 0], expected)
    by_ratio = model.generate(IDS, max_length=LengthRatio(1.0))
    limits = (IDS != 0).sum(axis=1) - 1 + 2
    expected = np.minimum(full.lengths[:, 0], limits)
    np.testing.assert_array_equal(by_ratio.lengths[:, 0], expected)
    for wrong in ([1, 2], [1.0] * 5, [0] * 5):
        with pytest.raises(ValueError, match="`max_length` must be"):
            model.generate(IDS, max_length=wrong)


def test_samples_do_not_depend_on_the_batch_size(model: Seq2Seq) -> None:
    search = Sampling(n=4, seed=5)
    expected = model.generate(IDS, search, max_length=6)
    found = model.generate(IDS, search, max_length=6, batch_size=2)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    assert len({tuple(row) for row in expected.tokens[0].tolist()}) > 1


def test_one_trace_serves_all_shapes_and_the_oldest_are_dropped(model: Seq2Seq) -> None:
    model = make(attention="general")
    searches = model._generator()
    for rows, batch_size in ((5, 256), (1, 1), (3, 2), (4, 3)):
        model.generate(IDS[:rows], "beam", batch_size=batch_size, max_length=rows)
        model.generate(IDS[:rows], BeamSearch(5), max_length=2)
    # With tables of all tokens and without.
    assert len(searches._compiled) <= 2
    for function in searches._compiled.values():
        assert function.experimental_get_tracing_count() == 1
    for width in range(1, 20):
        searches._function(BeamSearch(width), False, False, False)
    assert len(searches._compiled) == 16


class Biased(Greedy):
    """Adds a number to the logit of `</s>`, which `get_config` does not tell."""

    bias = 0.0

    def search(self, inputs: Any) -> Any:
        def project(hidden: Any) -> Any:
            end = np.eye(12, dtype="float32")[3]
            return inputs.step.project(hidden) + self.bias * end

        step = dataclasses.replace(inputs.step, project=project)
        return super().search(dataclasses.replace(inputs, step=step))


def test_a_search_is_compiled_by_its_class_and_its_attributes() -> None:
    model = make()
    searches = model._generator()
    redefined = type("Biased", (Biased,), {"__module__": Biased.__module__})
    functions = []
    for cls, bias in ((Biased, 0.0), (Biased, 0.0), (Biased, 9.0), (redefined, 0.0)):
        search = cls()
        search.bias = bias
        functions.append(searches._function(search, False, False, False))
    assert functions[0] is functions[1]
    assert len(set(functions)) == 3


def test_a_changed_search_decodes_in_its_new_way() -> None:
    model, search = make(), Biased()
    search.bias = -99.0
    assert model.generate(IDS, search, max_length=3).truncated.all()
    search.bias = 99.0
    assert (model.generate(IDS, search, max_length=3).lengths == 1).all()


def test_numbers_of_a_search_are_arguments_of_one_graph() -> None:
    model = make()
    found = {}
    for seed, temperature in ((0, 1.0), (1, 1.0), (2, 0.5)):
        search = Sampling(n=2, seed=seed, temperature=temperature)
        found[seed] = model.generate(IDS, search, max_length=6).tokens.tolist()
    assert found[0] != found[1]
    assert len(model._generator()._compiled) == 1
    (function,) = model._generator()._compiled.values()
    assert function.experimental_get_tracing_count() == 1
    options = Sampling(n=2, seed=2, temperature=0.5)
    like = build_inference_models(model).generate(IDS, options, max_length=6)
    assert like.tokens.tolist() == found[2]


class OwnSampling(Sampling):
    """Reads its seed as a number."""

    def search(self, inputs: Any) -> Any:
        assert isinstance(self.seed, int)
        return super().search(inputs)


def test_a_subclass_reads_its_options_as_numbers() -> None:
    model = make()
    for seed in (1, 2):
        found = model.generate(IDS, OwnSampling(seed=seed), max_length=3)
        expected = model.generate(IDS, Sampling(seed=seed), max_length=3)
        np.testing.assert_array_equal(found.tokens, expected.tokens)


@pytest.mark.parametrize("value", [2**31, 2**31 + 5, 10**30, [2**31 + 5] * 5])
def test_a_maximum_length_beyond_int32_is_refused(model: Seq2Seq, value: Any) -> None:
    with pytest.raises(ValueError, match=r"`max_length` must be .*Received"):
        model.generate(IDS, max_length=value)


def test_a_huge_maximum_length_costs_nothing() -> None:
    model = make()
    model.get_layer("decoder_output").bias.assign(99.0 * np.eye(12)[3])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    search = Sampling(n=2, no_repeat_ngram_size=2)
    found = model.generate(IDS, search, max_length=2**31 - 1)
    assert (found.lengths == 1).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.slow
def test_a_thousand_calls_take_no_more_memory() -> None:
    model = make(attention="general")
    draw = np.random.default_rng(0)

    def call() -> None:
        rows, steps = draw.integers(1, 9), draw.integers(2, 9)
        source = draw.integers(4, 11, (rows, steps))
        source[:, -1] = 3
        model.generate(source, BeamSearch(3, n=2), max_length=8, return_attention=True)

    for _ in range(200):
        call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):
        call()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory: {before} KiB, then {after} KiB")
    assert after - before < 8000
