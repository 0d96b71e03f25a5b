"""Initial weights: parameters of another model, frozen layers, embeddings."""

import gzip
import pathlib
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.data import Vocabulary
from kseq.training import freeze, load_embeddings, load_parameters

VOCAB = Vocabulary(["sun", "rain", "fog"])
TARGET = Vocabulary(["Sonne", "Regen"])
SIZES = {"source_vocab_size": len(VOCAB), "target_vocab_size": len(TARGET)}


def make(**settings: Any) -> kseq.Seq2Seq:
    return kseq.build_seq2seq(**{**SIZES, "units": 4, "embedding_dim": 2, **settings})


def weights(model: kseq.Seq2Seq) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(ours[path], theirs[path]) for path in ours)


def train(model: kseq.Seq2Seq) -> None:
    model.compile("adam", run_eagerly=True)  # one step is not worth a graph
    inputs = {
        "encoder_inputs": np.array([[4, 5, 3]]),
        "decoder_inputs": np.array([[2, 4]]),
    }
    model.fit(inputs, np.array([[4, 3]]), verbose=0)


# All kinds of layers within layers: two directions, a loop, an attention.
RICH: dict[str, Any] = {
    "encoder_direction": "bidirectional",
    "attention": "additive",
    "input_feeding": True,
    "layers": 2,
    "recurrent_dropout": 0.1,
    "stabilizer": "shared",
    "weight_tying": "source_target",
    "target_vocab_size": len(VOCAB),
}


@pytest.fixture(scope="module")
def rich() -> kseq.Seq2Seq:
    model = make(**RICH)
    # Each test begins with the same seed: the values must be others.
    model.set_weights([weight + 0.5 for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("kind", ["keras", "folder", "weights"])
def test_weights_are_loaded_from_every_kind_of_file(
    tmp_path: pathlib.Path, rich: kseq.Seq2Seq, kind: str
) -> None:
    paths = {"keras": "a.keras", "folder": "adder", "weights": "a.weights.h5"}
    path = tmp_path / paths[kind]
    if kind == "folder":
        kseq.Translator(rich, VOCAB, VOCAB).save(path)
    else:
        (rich.save if kind == "keras" else rich.save_weights)(path)
    model = make(**RICH)
    assert not same(weights(model), weights(rich))
    loaded = load_parameters(model, path)
    for ours, theirs in zip(model.weights, rich.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert loaded.loaded == tuple(weight.path for weight in model.weights)
    assert loaded.unchanged == loaded.unused == ()
    assert str(loaded) == f"{len(model.weights)} weights loaded"


def test_weights_can_be_loaded_into_a_used_model(
    tmp_path: pathlib.Path,
) -> None:
    other, model = make(), make()
    for each in (other, model):
        train(each)
        each.generate([[4, 3]], max_length=2)
    other.save(tmp_path / "a.keras")
    load_parameters(model, tmp_path / "a.keras")
    assert same(weights(model), weights(other))
    # A new training begins: the moments of the old one are not taken.
    assert int(model.optimizer.iterations) == 1


def test_layers_of_another_vocabulary_size_are_unchanged(
    tmp_path: pathlib.Path,
) -> None:
    other, model = make(target_vocab_size=9), make()
    other.save_weights(tmp_path / "a.weights.h5")
    before = weights(model)
    with pytest.raises(
        ValueError, match="decoder_output/kernel has the shape"
    ) as error:
        load_parameters(model, tmp_path / "a.weights.h5")
    assert "(4, 6) in the model and (4, 9) in the file" in str(error.value)
    assert "strict=False" in str(error.value)
    assert same(weights(model), before)

    loaded = load_parameters(model, tmp_path / "a.weights.h5", strict=False)
    kept = {"decoder_embedding/embeddings", "decoder_output/kernel"}
    kept |= {"decoder_output/bias"}
    assert set(loaded.unchanged) == set(loaded.unused) == kept
    assert set(loaded.loaded) == set(before) - kept
    after, theirs = weights(model), weights(other)
    for path in before:
        source = before if path in kept else theirs
        np.testing.assert_array_equal(after[path], source[path])


def test_layers_are_matched_by_name_in_another_order(
    tmp_path: pathlib.Path,
) -> None:
    # With an attention, and a layer more, Keras's own numbers of the layers shift.
    plain, model = make(), make(attention="general", decoder_init_projection="dense")
    plain.save(tmp_path / "a.keras")
    loaded = load_parameters(model, tmp_path / "a.keras", strict=False)
    ours, theirs = weights(model), weights(plain)
    for path in loaded.loaded:
        np.testing.assert_array_equal(ours[path], theirs[path])
    assert "decoder_output/bias" in loaded.loaded
    assert any("attention" in path for path in loaded.unchanged)


def test_missing_and_unused_weights_are_named(
    tmp_path: pathlib.Path,
) -> None:
    make(decoder_layers=2).save_weights(tmp_path / "two.weights.h5")
    make().save_weights(tmp_path / "one.weights.h5")
    with pytest.raises(ValueError, match="The model lacks decoder_lstm_2/cell/0 "):
        load_parameters(make(), tmp_path / "two.weights.h5")
    with pytest.raises(
        ValueError, match=r"The file lacks decoder_lstm_2/decoder_lstm_2_cell/kernel \("
    ):
        load_parameters(make(decoder_layers=2), tmp_path / "one.weights.h5")
    loaded = load_parameters(make(), tmp_path / "two.weights.h5", strict=False)
    assert loaded.unchanged == ()
    assert loaded.unused == tuple(f"decoder_lstm_2/cell/{k}" for k in range(3))
    assert str(loaded).endswith("3 not used: " + ", ".join(loaded.unused))


def test_a_file_without_a_matching_weight_is_an_error(
    tmp_path: pathlib.Path,
) -> None:
    make(cell="gru", units=6, source_vocab_size=9, target_vocab_size=11).save_weights(
        tmp_path / "a.weights.h5"
    )
    with pytest.raises(ValueError, match="has no weight of the model"):
        load_parameters(make(), tmp_path / "a.weights.h5", strict=False)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.keras", None, FileNotFoundError, "no parameters at '.*a.keras'"),
        ("a.keras", b"no zip", ValueError, "a.keras' is not a file that Keras"),
        ("a.weights.h5", b"no hdf5", ValueError, "a.weights.h5' is not a file that"),
        ("a.pt", b"", ValueError, "must be a '.keras' file, .*a.pt'"),
    ],
)
def test_a_path_without_weights_is_refused(
    tmp_path: pathlib.Path, name: str, content: bytes | None, error: type, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        load_parameters(make(), tmp_path / name)


def test_a_folder_without_a_model_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.keras"):
        load_parameters(make(), tmp_path)


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        ("encoder_embedding", ["encoder_embedding"]),
        ("*_embedding", ["encoder_embedding", "decoder_embedding"]),
        (["decoder_output/*"], ["decoder_output"]),
        (["encoder_lstm_1/*/kernel", "*_kernel", "*/bias", "*/kernel"], None),
    ],
)
def test_a_frozen_layer_keeps_its_weights(
    tmp_path: pathlib.Path, patterns: Any, frozen: list[str] | None
) -> None:
    model = make()
    found = freeze(model, patterns)
    if frozen is None:
        frozen = ["encoder_lstm_1", "decoder_lstm_1", "decoder_output"]
    assert sorted(found) == sorted(frozen)
    before = weights(model)
    train(model)
    for path, value in weights(model).items():
        # In an embedding, only the rows of tokens in the batch change.
        stays = path.split("/")[0] in frozen
        assert np.array_equal(before[path], value) == stays
    model.save(tmp_path / "a.keras")
    again = kseq.load_model(tmp_path / "a.keras")
    assert len(again.trainable_weights) == len(model.trainable_weights)


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        ("encodr_*", ValueError, "'encodr_.'. The layers are: .*encoder_lstm_1"),
        (["encoder_*", "Decoder_*"], ValueError, "'Decoder_.'"),
        ("encoder_mask", ValueError, "'encoder_mask'"),  # it has no weights
        ("decoder_output/bias", ValueError, "do not match decoder_output/kernel of"),
        (["*", 3], TypeError, "must hold only strings. Received: 3"),
    ],
)
def test_a_pattern_must_match_whole_layers(
    patterns: Any, error: type, message: str
) -> None:
    model = make()
    with pytest.raises(error, match=message):
        freeze(model, patterns)
    assert all(layer.trainable for layer in model.layers)


VECTORS = "rain 1 2\nmist 3 4\nfog -5e-1 6\n</s> 7 8\nrain 9 9\n"


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.vec.gz"])
@pytest.mark.parametrize("header", ["", "5 2\n"])
@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n"])
def test_only_tokens_of_the_vocabulary_get_vectors(
    tmp_path: pathlib.Path, name: str, header: str, ending: str
) -> None:
    model = make()
    table = model.get_layer("encoder_embedding").embeddings
    expected = table.numpy().copy()
    expected[VOCAB["rain"]] = [1, 2]
    expected[VOCAB["fog"]] = [-0.5, 6]
    expected[VOCAB["</s>"]] = [7, 8]
    other = model.get_layer("decoder_embedding").embeddings.numpy().copy()
    path = write(tmp_path / name, (header + VECTORS).replace("\n", ending))
    assert load_embeddings(model, "source", VOCAB, path) == 3
    np.testing.assert_array_equal(table.numpy(), expected)
    after = model.get_layer("decoder_embedding").embeddings.numpy()
    np.testing.assert_array_equal(after, other)


def test_tokens_can_contain_spaces_and_line_breaks(tmp_path: pathlib.Path) -> None:
    vocab = Vocabulary(["a\x85b", "x\u00a0y", ". ."])
    path = write(tmp_path / "a.txt", "the 0 0\n. . 1 2\na\x85b 3 4\nx\u00a0y 5 6")
    model = make()
    assert load_embeddings(model, "source", vocab, path) == 3
    table = model.get_layer("encoder_embedding").embeddings.numpy()
    assert table[4:].tolist() == [[3, 4], [5, 6], [1, 2]]


@pytest.mark.parametrize("tying", ["source_target", "all", "target_softmax"])
def test_tied_embeddings_get_the_vectors_on_both_sides(
    tmp_path: pathlib.Path, tying: str
) -> None:
    model = make(
        weight_tying=tying, target_vocab_size=len(VOCAB), units=2, embedding_dim=2
    )
    path = write(tmp_path / "a.txt", "rain 100 200\n")
    load_embeddings(model, "target", VOCAB, path)
    holders = [
        weight.path
        for weight in model.weights
        if weight.shape == (len(VOCAB), 2) and weight.numpy()[VOCAB["rain"], 0] == 100
    ]
    own = "decoder" if tying == "target_softmax" else "shared"
    assert holders == [f"{own}_embedding/embeddings"]
    inputs = {"encoder_inputs": np.array([[4, 3]]), "decoder_inputs": np.array([[2]])}
    logits = np.abs(np.asarray(model(inputs))[0, 0])
    # The output layer too, where it is tied.
    assert (logits.argmax() == VOCAB["rain"]) >= (tying != "source_target")


def test_an_array_gives_every_token_its_vector() -> None:
    model = make()
    vectors = np.arange(2 * len(TARGET), dtype="float64").reshape(-1, 2)
    assert load_embeddings(model, "target", TARGET, vectors) == len(TARGET)
    found = model.get_layer("decoder_embedding").embeddings.numpy()
    np.testing.assert_array_equal(found, vectors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rain 1 2 3\n", r"a\.txt:1: .*embedding, 2. Received: 3"),
        ("9 3\nrain 1 2 3\n", r"a\.txt:1: .*embedding, 2. Received: 3"),
        ("mist 1 2\nrain 1\n", r"a\.txt:2: .*token and 2 numbers.*'rain 1'"),
        ("mist 1 2\n\nrain 1 2\n", r"a\.txt:2: .*token and 2 numbers.*''"),
        ("mist 1 2\nrain 1 x\n", r"a\.txt:2: .*finite numbers.*'rain 1 x'"),
        ("mist 1 2\nrain 1 nan\n", r"a\.txt:2: .*finite numbers.*'rain 1 nan'"),
        ("3 2\nmist 1 2\nrain 1 2\n", r"a\.txt:1: .*announces 3 vectors, but 2 follow"),
        ("mist 1 2\n", r"a\.txt' has no vector for a token"),
        ("", r"a\.txt' has no vector for a token"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    model = make()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        load_embeddings(model, "source", VOCAB, write(tmp_path / "a.txt", text))
    assert same(weights(model), before)


def test_invalid_utf8_and_gzip_are_refused_with_their_line(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"mist 1 2\nM\xfcnchen 1 2\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: not UTF-8"):
        load_embeddings(make(), "source", VOCAB, path)
    path = tmp_path / "a.gz"
    path.write_bytes(b"rain 1 2\n")
    with pytest.raises(
        ValueError, match=r"a\.gz is not a complete gzip file: after line 0"
    ):
        load_embeddings(make(), "source", VOCAB, path)
    path.write_bytes(gzip.compress(VECTORS.encode())[:-9])
    with pytest.raises(
        ValueError, match=r"a\.gz is not a complete gzip file: after line \d"
    ):
        load_embeddings(make(), "source", VOCAB, path)


@pytest.mark.parametrize(
    ("settings", "side", "vocab", "vectors", "error", "message"),
    [
        ({}, "encoder", VOCAB, "a.txt", ValueError, "'source', 'target'.*'encoder'"),
        (
            {},
            "target",
            VOCAB,
            "a.txt",
            ValueError,
            "6 tokens, .*target.*: 7",
        ),
        ({}, "source", ["sun"], "a.txt", TypeError, "`vocab` must be a kseq"),
        ({}, "source", VOCAB, "none.txt", FileNotFoundError, "none.txt"),
        ({}, "source", VOCAB, np.zeros((7, 3)), ValueError, r"\(7, 2\).*\(7, 3\)"),
        ({}, "source", VOCAB, np.full((7, 2), np.nan), ValueError, "finite"),
        (
            {"source_representation": "one_hot"},
            "source",
            VOCAB,
            "a.txt",
            ValueError,
            "embedding of the source.*'one_hot'.*source_representation='embedding'",
        ),
    ],
)
def test_a_mistake_is_refused(
    settings: dict[str, Any],
    side: str,
    vocab: Any,
    vectors: Any,
    error: type,
    message: str,
) -> None:
    if "source_representation" in settings:
        settings = {**settings, "target_representation": "embedding"}
    with pytest.raises(error, match=message):
        load_embeddings(make(**settings), side, vocab, vectors)


def test_a_model_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a kseq\.Seq2Seq"):
        load_embeddings(None, "source", VOCAB, "a.txt")  # type: ignore[arg-type]
