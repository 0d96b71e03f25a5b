"""Translators: decoding, saving and loading a model folder."""

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kseq import Ensemble, Seq2Seq, Translator, build_seq2seq, load_model
from kseq.data import (
    CharacterTokenizer,
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    Vocabulary,
    WhitespaceTokenizer,
)
from kseq.decoding import BeamSearch, LengthRatio

LETTERS = Vocabulary(list("abcdefg"), tokenizer="characters")
WORDS = Vocabulary([f"w{i}" for i in range(9)])
SIZES: dict[str, Any] = {
    "source_vocab_size": len(LETTERS),
    "target_vocab_size": len(WORDS),
    "units": 8,
    "embedding_dim": 4,
}
TEXTS = ["ab", "", "gfedcba", "a", "z", "bb"]


def make(**settings: Any) -> Seq2Seq:
    """A model whose random weights are large: its outputs tell sources apart."""
    keras.utils.set_random_seed(0)
    return build_seq2seq(
        **{
            **SIZES,
            "kernel_initializer": "uniform",
            "initializer_scale": 1.5,
            **settings,
        }
    )


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(make(), LETTERS, WORDS)


@pytest.fixture(scope="module")
def folder(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("translator") / "parent" / "run"
    translator.save(path)
    return path


def damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy of a saved folder, to be damaged."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_each_text_is_decoded_as_generate_does(translator: Translator) -> None:
    ids = LETTERS.encode(["ab", "gfedcba"])
    expected = WORDS.decode(translator.model.generate(ids).tokens)
    assert translator.translate(["ab", "gfedcba"]) == expected
    assert expected[0] != expected[1]


def test_outputs_keep_the_order_and_an_empty_text_stays_empty(
    translator: Translator,
) -> None:
    together = translator.translate(TEXTS)
    assert together == [translator.translate([text])[0] for text in TEXTS]
    assert together[1] == ""
    assert len(set(together)) > 4
    assert translator.translate(TEXTS[::-1]) == together[::-1]


def test_the_batch_size_changes_nothing(translator: Translator) -> None:
    expected = translator.translate(TEXTS)
    assert translator.translate(TEXTS, batch_size=2) == expected


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_texts_give_no_outputs(translator: Translator, texts: list[str]) -> None:
    assert translator.translate(texts) == texts


def test_max_length_limits_the_output(translator: Translator) -> None:
    found = translator.translate(TEXTS, max_length=2)
    assert max(len(text.split()) for text in found) == 2


@pytest.mark.parametrize("texts", ["ab", ["ab", 3], None])
def test_texts_must_be_a_list_of_strings(translator: Translator, texts: Any) -> None:
    with pytest.raises(TypeError, match="`texts`"):
        translator.translate(texts)


def test_a_loaded_translator_gives_the_same_texts(
    translator: Translator, folder: Path
) -> None:
    loaded = Translator.load(folder)
    assert loaded.translate(TEXTS) == translator.translate(TEXTS)
    assert (loaded.source_vocab, loaded.target_vocab) == (LETTERS, WORDS)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["run"]


TOKENIZERS: list[Tokenizer] = [
    WhitespaceTokenizer(lower_case=True),
    CharacterTokenizer(lower_case=True),
    SpacyTokenizer("de"),
    MosesTokenizer("de", escape=True, lower_case=True),
    SentencePieceTokenizer.train(["a bc, d efg"], 9),
    SentencePieceTokenizer.train(["a bc, d efg"], 9, "bpe", lower_case=True),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_a_folder_keeps_the_tokenizers_of_both_sides(
    translator: Translator, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    source = Vocabulary(list("abcdef,"), tokenizer)
    target = Vocabulary(list("abcdefg,."), tokenizer)
    saved = Translator(translator.model, source, target)
    saved.save(tmp_path / "run")
    loaded = Translator.load(tmp_path / "run")
    assert (loaded.source_vocab, loaded.target_vocab) == (source, target)
    texts = ["a Bc, d", "", "efg"]
    assert loaded.translate(texts) == saved.translate(texts)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["source_vocab"] == {
        "tokenizer": tokenizer.get_config(),
        "width": None,
    }
    models = {path.name for path in (tmp_path / "run").glob("tokenizer.*")}
    assert models == {
        f"tokenizer.{side}.{name}"
        for side in ("source", "target")
        for name in tokenizer.assets
    }


def test_a_folder_with_tokenizers_as_strings_is_loaded(
    translator: Translator, folder: Path, tmp_path: Path
) -> None:
    path = damaged(folder, tmp_path)
    config = {
        "format_version": 1,
        "length_ratio": None,
        "source_vocab": {"tokenizer": "characters", "width": None},
        "target_vocab": {"tokenizer": "whitespace", "width": None},
    }
    (path / "config.json").write_text(json.dumps(config))
    loaded = Translator.load(path)
    assert (loaded.source_vocab, loaded.target_vocab) == (LETTERS, WORDS)


def test_a_missing_file_of_a_tokenizer_is_named(
    translator: Translator, tmp_path: Path
) -> None:
    vocab = Vocabulary(list("abcdef,"), TOKENIZERS[-1])
    Translator(translator.model, vocab, WORDS).save(tmp_path / "run")
    (tmp_path / "run" / "tokenizer.source.model").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer\.source\.model"):
        Translator.load(tmp_path / "run")


def test_a_model_is_loaded_from_a_folder(translator: Translator, folder: Path) -> None:
    model = load_model(str(folder))
    assert model.config == translator.model.config
    for found, expected in zip(
        model.get_weights(), translator.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_folder_is_replaced_only_on_request(
    translator: Translator, folder: Path, tmp_path: Path
) -> None:
    path = damaged(folder, tmp_path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    other = Translator(make(units=6), LETTERS, WORDS)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        other.save(path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    other.save(path, overwrite=True)
    assert load_model(path).config.units == 6


@pytest.mark.parametrize(
    "content",
    [None, "{}", "[]", "not JSON", '{"model_type": "bert"}', '{"format_version": "1"}'],
)
def test_another_folder_is_never_replaced(
    translator: Translator, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "thesis"
    path.mkdir()
    for name in ("model.keras", "vocab.source.json", "vocab.target.json"):
        (path / name).write_text("precious")
    if content is not None:
        (path / "config.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"thesis' is not .* Choose another"):
        translator.save(path, overwrite=True)
    assert (path / "model.keras").read_text() == "precious"


def test_a_folder_with_another_config_file_is_never_replaced(
    translator: Translator, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="Choose another"):
        translator.save(tmp_path, overwrite=True)


def test_a_file_is_never_replaced(translator: Translator, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="Choose another"):
        translator.save(path, overwrite=True)
    assert path.read_text() == "precious"


def test_a_failure_while_saving_leaves_the_older_folder(
    translator: Translator,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = damaged(folder, tmp_path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Vocabulary, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        translator.save(path, overwrite=True)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize("load", [Translator.load, load_model])
@pytest.mark.parametrize("name", ["config.json", "model.keras"])
def test_a_missing_file_is_named(
    folder: Path, tmp_path: Path, name: str, load: Any
) -> None:
    path = damaged(folder, tmp_path)
    (path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"copy'.*lacks {name}"):
        load(path)


@pytest.mark.parametrize("name", ["vocab.source.json", "vocab.target.json"])
def test_a_missing_vocabulary_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    path = damaged(folder, tmp_path)
    (path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"copy'.*lacks {name}"):
        Translator.load(path)


def test_a_truncated_model_is_an_error(folder: Path, tmp_path: Path) -> None:
    path = damaged(folder, tmp_path)
    whole = (path / "model.keras").read_bytes()
    (path / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.keras' cannot be read"):
        Translator.load(path)


def test_several_folders_decode_as_an_ensemble(
    translator: Translator, folder: Path, tmp_path: Path
) -> None:
    translator.save(tmp_path / "again")
    together = Translator.load([folder, tmp_path / "again"])
    assert isinstance(together.model, Ensemble)
    assert together.translate(["ab"]) == translator.translate(["ab"])
    other = Translator(make(), LETTERS, Vocabulary([*WORDS.tokens[5:], "another"]))
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"' and '.*' differ"):
        Translator.load([folder, tmp_path / "other"])


def test_attention_has_rows_of_output_tokens_and_columns_of_source_tokens() -> None:
    model = make(attention="additive")
    first, none, last = Translator(model, LETTERS, WORDS).n_best(
        ["ab", "", "abc"], max_length=4, return_attention=True
    )
    assert not none
    for (found,), length in ((first, 2), (last, 3)):
        assert found.attention is not None
        assert found.attention.shape == (len(found.log_probs), length + 1)
        np.testing.assert_allclose(found.attention.sum(axis=1), 1, atol=1e-5)


def test_threads_share_a_translator(translator: Translator) -> None:
    texts = ["ab", "ba", "abab", "b"] * 4
    alone = [translator.translate([text]) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: translator.translate([text]), texts))
    assert together == alone


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere'.*model folder"):
        Translator.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no model at '.*nowhere\.keras'"):
        load_model(tmp_path / "nowhere.keras")


@pytest.mark.parametrize("load", [Translator.load, load_model])
def test_a_newer_format_is_refused(folder: Path, tmp_path: Path, load: Any) -> None:
    path = damaged(folder, tmp_path)
    (path / "config.json").write_text(json.dumps({"format_version": 2}))
    with pytest.raises(ValueError, match=r"version 2.*up to 1.*newer kseq"):
        load(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 1}'])
def test_a_broken_configuration_is_named(
    folder: Path, tmp_path: Path, content: str
) -> None:
    path = damaged(folder, tmp_path)
    (path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json' is not the configuration"):
        Translator.load(path)


def test_a_vocabulary_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`source_vocab`.* 11 tokens.*: 13"):
        Translator(make(), WORDS, WORDS)
    with pytest.raises(ValueError, match=r"`target_vocab`.* 13 tokens.*: 11"):
        Translator(make(), LETTERS, LETTERS)


def test_arguments_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"`model`.*build_seq2seq.*Sequential"):
        Translator(keras.Sequential(), LETTERS, WORDS)
    with pytest.raises(TypeError, match=r"`target_vocab`.*Vocabulary.*\['a'\]"):
        Translator(make(), LETTERS, ["a"])  # type: ignore[arg-type]


def test_a_features_source_has_no_text() -> None:
    model = build_seq2seq(
        source_representation="features",
        source_feature_dim=2,
        target_vocab_size=13,
        units=8,
    )
    with pytest.raises(ValueError, match=r"`model` .*features.*model\.generate"):
        Translator(model, LETTERS, WORDS)


def test_the_search_can_be_chosen(translator: Translator) -> None:
    best = translator.translate(TEXTS, BeamSearch(beam_width=4), max_length=5)
    found = translator.n_best(TEXTS, BeamSearch(beam_width=4, n=3), max_length=5)
    assert [each[0].text if each else "" for each in found] == best
    assert [len(each) for each in found] == [3, 0, 3, 3, 3, 3]
    ids = LETTERS.encode([text for text in TEXTS if text])
    expected = translator.model.generate(
        ids, BeamSearch(beam_width=4, n=3), max_length=5
    )
    outputs = [each for each in found if each]
    for row, translations in enumerate(outputs):
        for k, translation in enumerate(translations):
            length = expected.lengths[row, k]
            assert translation.score == pytest.approx(expected.scores[row, k], abs=1e-5)
            assert translation.truncated == expected.truncated[row, k]
            assert len(translation.log_probs) == length
            assert sum(translation.log_probs) == pytest.approx(translation.score)
            assert len(translation.tokens) == length - (not translation.truncated)
            assert " ".join(translation.tokens) == translation.text


def test_a_search_with_fewer_outputs_gives_fewer_translations(
    translator: Translator,
) -> None:
    (found,) = translator.n_best(["ab"], BeamSearch(beam_width=20, n=20), max_length=1)
    # <unk>, </s> and nine words
    assert len(found) == 11
    assert len({translation.text for translation in found}) == 11


def test_scores_of_outputs_are_those_of_the_search(translator: Translator) -> None:
    texts = ["ab", "gfedcba", "a"]
    found = translator.n_best(texts, BeamSearch(beam_width=9, n=9), max_length=4)
    whole = [
        (text, translation)
        for text, translations in zip(texts, found, strict=True)
        for translation in translations
        if not translation.truncated and "<unk>" not in translation.tokens
    ]
    assert whole
    scores = translator.score(
        [text for text, _ in whole], [translation.text for _, translation in whole]
    )
    assert scores == pytest.approx([each.score for _, each in whole], abs=1e-4)
    with pytest.raises(ValueError, match=r"each of the 2 texts.*Received: 1"):
        translator.score(["a", "b"], ["w1"])


def test_a_prefix_of_a_justified_output_is_not_justified() -> None:
    letters = Vocabulary([*"abcdefg "], "characters", width=7)
    sizes = dict.fromkeys(("source_vocab_size", "target_vocab_size"), len(letters))
    found = Translator(make(**sizes), letters, letters).n_best(
        ["ab", ""], prefixes=["c", "c"]
    )
    assert [row[0].tokens[0] for row in found if row] == ["c"]


def test_outputs_begin_with_prefixes(translator: Translator) -> None:
    prefixes = ["w1 w2", "w3", "", "w4", "w5 w6", "w0"]
    found = translator.translate(TEXTS, "beam", prefixes=prefixes, max_length=6)
    for text, prefix, output in zip(TEXTS, prefixes, found, strict=True):
        assert output.startswith(prefix) if text else output == ""
    with pytest.raises(ValueError, match="nothere"):
        translator.translate(["a"], prefixes=["nothere"])
    with pytest.raises(ValueError, match=r"each of the 2 texts.*Received: 1"):
        translator.translate(["a", "b"], prefixes=["w1"])


def test_a_length_ratio_is_saved_and_can_be_overridden(tmp_path: Path) -> None:
    model = make()
    bias = np.zeros(len(WORDS))
    bias[3] = -99  # never `</s>`
    model.get_layer("decoder_output").bias.assign(bias)
    translator = Translator(model, LETTERS, WORDS, LengthRatio(1.5, 0.25))
    translator.save(tmp_path / "run")
    again = Translator.load(tmp_path / "run")
    assert again.length_ratio == LengthRatio(1.5, 0.25)
    for each in (translator, again):
        lengths = [len(t.split()) for t in each.translate(["a", "", "abcd"])]
        assert lengths == [4, 0, 10]
        limits = [2, 7, 3]
        texts = each.translate(["a", "", "abcd"], max_length=limits)
        assert [len(t.split()) for t in texts] == [2, 0, 3]
    with pytest.raises(TypeError, match=r"`length_ratio`.*1\.5"):
        Translator(model, LETTERS, WORDS, 1.5)  # type: ignore[arg-type]


def test_an_ensemble_translates_but_is_not_saved(
    translator: Translator, tmp_path: Path
) -> None:
    ensemble = Ensemble([make(), make(units=6, cell="gru")])
    both = Translator(ensemble, LETTERS, WORDS)
    found = both.n_best(TEXTS, "beam", max_length=4)
    assert [len(each) for each in found] == [1, 0, 1, 1, 1, 1]
    with pytest.raises(TypeError, match="save a translator for each"):
        both.save(tmp_path / "both")
    assert not (tmp_path / "both").exists()
