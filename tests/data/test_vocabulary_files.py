import json
from pathlib import Path
from typing import Any

import pytest

from kseq.data import Vocabulary, WhitespaceTokenizer
from kseq.data.vocabulary_files import load_vocabulary, save_vocabulary

TEXTS = ["The cat sat.", "A cat and a dog: that's all!", "the dog"]
NAMES = [
    "whitespace",
    "characters",
    "spacy:en",
    "moses:en",
    "sentencepiece:30",
    "bpe:30",
]


@pytest.fixture(scope="module")
def built() -> dict[str, Vocabulary]:
    return {name: Vocabulary.build(TEXTS, name) for name in NAMES}


def test_only_tokenizers_with_assets_have_files(
    tmp_path: Path, built: dict[str, Vocabulary]
) -> None:
    save_vocabulary(tmp_path, "source", built["moses:en"])
    save_vocabulary(tmp_path, "target", built["bpe:30"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tokenizer.target.model",
        "vocab.source.json",
        "vocab.target.json",
    ]


def test_the_width_is_loaded(tmp_path: Path) -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    assert (
        load_vocabulary(tmp_path, "source", save_vocabulary(tmp_path, "source", vocab))
        == vocab
    )


def test_a_config_whose_tokenizer_is_a_string_is_read(
    tmp_path: Path,
) -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    vocab.save(tmp_path / "vocab.source.json")
    config = {"tokenizer": "characters", "width": 3}
    assert load_vocabulary(tmp_path, "source", config) == vocab


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_is_loaded(
    tmp_path: Path, built: dict[str, Vocabulary], name: str
) -> None:
    (tmp_path / "tokenizer.source.model").write_text("an older one")
    config = save_vocabulary(tmp_path, "source", built[name])
    again = load_vocabulary(tmp_path, "source", json.loads(json.dumps(config)))
    assert again == built[name]
    assert again.encode(TEXTS).tolist() == built[name].encode(TEXTS).tolist()


def test_a_missing_file_raises_an_error_with_its_name(
    tmp_path: Path, built: dict[str, Vocabulary]
) -> None:
    config = save_vocabulary(tmp_path, "target", built["bpe:30"])
    (tmp_path / "tokenizer.target.model").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer\.target\.model"):
        load_vocabulary(tmp_path, "target", config)
    save_vocabulary(tmp_path, "target", built["bpe:30"])
    (tmp_path / "vocab.target.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.target\.json"):
        load_vocabulary(tmp_path, "target", config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "must have a tokenizer and a width"),
        ({}, "must have a tokenizer"),
        ({"tokenizer": "whitespace", "size": 3}, "must have a tokenizer"),
        ({"tokenizer": "words"}, "tokenizer of the source .*Received: 'words'"),
        ({"tokenizer": None}, "tokenizer of the source .*NoneType"),
        ({"tokenizer": {"name": "moses"}}, r"tokenizer of the source .*\['language'\]"),
    ],
)
def test_an_invalid_config_raises_an_error_with_the_folder_and_the_reason(
    tmp_path: Path, config: Any, message: str
) -> None:
    Vocabulary(["a"]).save(tmp_path / "vocab.source.json")
    with pytest.raises(ValueError, match=message) as error:
        load_vocabulary(tmp_path, "source", config)
    assert str(tmp_path) in str(error.value)


def test_an_unregistered_tokenizer_is_not_saved(tmp_path: Path) -> None:
    class Own(WhitespaceTokenizer):
        name = "own"

    with pytest.raises(ValueError, match=r"'own'.*register your own"):
        save_vocabulary(tmp_path, "source", Vocabulary(["a"], Own()))
    assert list(tmp_path.iterdir()) == []
