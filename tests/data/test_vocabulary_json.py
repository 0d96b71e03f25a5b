import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kseq.data import Vocabulary
from kseq.special_tokens import SPECIAL_TOKENS


@pytest.mark.parametrize("tokenizer", ["whitespace", "characters"])
def test_a_loaded_vocabulary_equals_the_saved_one(tmp_path, tokenizer: str) -> None:
    vocab = Vocabulary(["ä", '"', "\\", "語", "0"], tokenizer)
    path = tmp_path / "vocab.json"
    path.write_text("an older file")
    vocab.save(path)
    assert Vocabulary.load(path, tokenizer) == vocab
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]
    assert json.loads(path.read_bytes()) == {
        token: index for index, token in enumerate(vocab.tokens)
    }
    assert "語".encode() in path.read_bytes()


def test_a_failed_save_leaves_only_the_old_file(tmp_path) -> None:
    path = tmp_path / "vocab.json"
    Vocabulary(["a"]).save(path)
    with pytest.raises(ValueError, match=r"surrogate pair.*'\\ud800\\udc00'"):
        Vocabulary(["\ud800\udc00"]).save(path)
    assert Vocabulary.load(path) == Vocabulary(["a"])
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]


SPECIALS = '"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "one JSON object"),
        ("{}", "the id 0 must belong to '<pad>'"),
        ('{"<pad>": 0, "<unk>": 1, "</s>": 2, "<s>": 3}', "must belong to '<s>'"),
        (f'{{{SPECIALS}, "a": 5}}', "4 is missing"),
        (f'{{{SPECIALS}, "a": 4, "b": 4}}', "'a' and 'b' share the id 4"),
        (f'{{{SPECIALS}, "a": 4, "a": 5}}', "'a' occurs twice"),
        (f'{{{SPECIALS}, "a": true}}', "the id of 'a' must be an integer"),
        (f'{{{SPECIALS}, "a": "4"}}', "the id of 'a' must be an integer"),
        (f'{{{SPECIALS}, "a": -1}}', "4 is missing"),
        (f'{{{SPECIALS}, "": 4}}', "empty string"),
    ],
)
def test_an_invalid_file_raises_an_error_with_its_name_and_the_reason(
    tmp_path, text, message
) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


def test_a_file_in_another_encoding_raises_an_error_with_its_name(tmp_path) -> None:
    path = tmp_path / "vocab.json"
    path.write_bytes('{"ä": 4}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"vocab\.json is not a JSON file in UTF-8"):
        Vocabulary.load(path)


@pytest.mark.parametrize("token", ["\udc80", "a\\\ud800b", "a\nb", "\u2028", "\x00"])
def test_odd_tokens_survive_saving(tmp_path: Path, token: str) -> None:
    vocab = Vocabulary([token])
    vocab.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == vocab
    json.loads((tmp_path / "vocab.json").read_bytes().decode("utf-8"))


@given(st.sets(st.text(st.characters(), min_size=1), max_size=5))
def test_any_token_survives_saving(
    tmp_path_factory: pytest.TempPathFactory, tokens: set[str]
) -> None:
    vocab = Vocabulary(sorted(tokens - set(SPECIAL_TOKENS)))
    path = tmp_path_factory.mktemp("vocab") / "vocab.json"
    try:
        vocab.save(path)
    except ValueError as error:
        assert "surrogate pair" in str(error)  # noqa: PT017 - it need not be raised
    else:
        assert Vocabulary.load(path) == vocab
