import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from kseq.data import Vocabulary
from kseq.data.vocabulary import END, PAD, SPECIAL_TOKENS, UNK

words = st.text(min_size=1, max_size=6).filter(
    lambda word: word.split() == [word] and word not in SPECIAL_TOKENS
)
sentences = st.lists(st.lists(words, max_size=5).map(" ".join), min_size=1, max_size=5)


def test_special_tokens_come_first_then_the_tokens_as_given() -> None:
    vocab = Vocabulary(["b", "a"])
    assert vocab.tokens == ("<pad>", "<unk>", "<s>", "</s>", "b", "a")
    assert len(vocab) == 6
    assert list(vocab) == list(vocab.tokens)


def test_a_token_is_found_by_name() -> None:
    vocab = Vocabulary(["b", "a"])
    assert vocab.id("a") == vocab["a"] == 5
    assert "a" in vocab
    assert "c" not in vocab
    with pytest.raises(KeyError, match="no token 'c'"):
        vocab["c"]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_special_tokens_may_not_be_given(special: str) -> None:
    with pytest.raises(ValueError, match=f"special token '{special}'"):
        Vocabulary(["a", special])


@pytest.mark.parametrize(
    ("tokens", "tokenizer", "message"),
    [
        (["a", "a"], "whitespace", "'a' twice"),
        ([""], "whitespace", "empty string"),
        (["ab"], "characters", "single characters"),
        (["a"], "words", "'whitespace', 'characters'. Received: 'words'"),
    ],
)
def test_bad_tokens_are_refused(
    tokens: list[str], tokenizer: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(tokens, tokenizer)


def test_build_orders_by_frequency_then_alphabet() -> None:
    vocab = Vocabulary.build(["c b a b", "d c b e"])
    assert vocab.tokens[4:] == ("b", "c", "a", "d", "e")


def test_build_does_not_depend_on_the_order_of_texts() -> None:
    texts = ["q w", "e r", "t y", "w e"]
    assert Vocabulary.build(texts) == Vocabulary.build(texts[::-1])


def test_build_leaves_out_rare_tokens_and_keeps_the_limit() -> None:
    texts = ["a a a", "b b", "c c", "d"]
    assert Vocabulary.build(texts, min_frequency=2).tokens[4:] == ("a", "b", "c")
    assert Vocabulary.build(texts, max_size=2).tokens[4:] == ("a", "b")


def test_build_takes_no_control_token_from_a_text() -> None:
    vocab = Vocabulary.build(["<s> a </s> <pad> <unk>"])
    assert vocab.tokens[4:] == ("a",)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["min_frequency", "max_size"])
def test_build_refuses_limits_below_one(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {value}"):
        Vocabulary.build(["a"], **{name: value})  # type: ignore[arg-type]


def test_build_refuses_a_boolean_limit() -> None:
    with pytest.raises(TypeError, match=r"`max_size` must be .* Received: True"):
        Vocabulary.build(["a"], max_size=True)


def test_encode_ends_rows_and_pads_on_the_right() -> None:
    ids = Vocabulary(["a", "b"]).encode(["b a b", "a", ""])
    assert ids.dtype == np.int32
    assert ids.tolist() == [[5, 4, 5, END], [4, END, PAD, PAD], [END, PAD, PAD, PAD]]


def test_an_unknown_token_is_unk_unless_strict() -> None:
    vocab = Vocabulary(["a"])
    assert vocab.encode(["a z"]).tolist() == [[4, UNK, END]]
    with pytest.raises(ValueError, match="'z' in 'a z'"):
        vocab.encode(["a", "a z"], strict=True)


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_a_text_cannot_forge_a_control_token(special: str) -> None:
    vocab = Vocabulary(["a"])
    assert vocab.encode([f"a {special} a"]).tolist() == [[4, UNK, 4, END]]
    with pytest.raises(ValueError, match=special):
        vocab.encode([special], strict=True)


def test_characters_of_a_control_token_are_just_characters() -> None:
    vocab = Vocabulary.build(["<s>a"], tokenizer="characters")
    ids = vocab.encode(["<s>a</s>"])
    assert ids.min() == UNK  # "/" was never seen
    assert (ids == END).sum() == 1
    assert vocab.decode(vocab.encode(["<s>"], strict=True)) == ["<s>"]


def test_encode_cuts_to_the_maximum_length_with_its_end() -> None:
    vocab = Vocabulary(["a", "b"])
    ids = vocab.encode(["a b a b", "a"], max_length=3)
    assert ids.tolist() == [[4, 5, END], [4, END, PAD]]
    assert vocab.encode(["a b"], max_length=3).tolist() == [[4, 5, END]]
    assert vocab.encode(["a b"], max_length=1).tolist() == [[END]]


@given(sentences, st.integers(1, 8))
def test_the_maximum_length_only_ever_cuts(texts: list[str], limit: int) -> None:
    vocab = Vocabulary.build(texts)
    cut, whole = vocab.encode(texts, max_length=limit), vocab.encode(texts)
    assert cut.shape[1] == min(limit, whole.shape[1])
    for short, text in zip(vocab.decode(cut), texts, strict=True):
        assert short.split() == text.split()[: limit - 1]


@pytest.mark.parametrize("texts", ["a b", np.str_("a b")])
def test_a_bare_string_is_no_list_of_strings(texts: str) -> None:
    with pytest.raises(TypeError, match=r"put it in a list: \['a b'\]|put it in a li"):
        Vocabulary(["a"]).encode(texts)
    with pytest.raises(TypeError, match="`texts` must be a list of strings"):
        Vocabulary.build(texts)
    with pytest.raises(TypeError, match="`tokens` must be a list of strings"):
        Vocabulary(texts)


def test_what_is_no_string_is_named_with_its_place() -> None:
    with pytest.raises(TypeError, match=r"Received: None of type NoneType at index 1"):
        Vocabulary(["a"]).encode(["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="Received: 3 of type int"):
        Vocabulary(["a"]).encode(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_type", [tuple, np.array, pd.Series, iter])
def test_any_iterable_of_strings_will_do(as_type: type) -> None:
    assert Vocabulary(["a"]).encode(as_type(["a", "a a"])).shape == (2, 3)
    assert type(Vocabulary(as_type(["a"])).tokens[4]) is str


@given(sentences)
def test_words_survive_the_round_trip(texts: list[str]) -> None:
    vocab = Vocabulary.build(texts)
    assert vocab.decode(vocab.encode(texts, strict=True)) == [
        " ".join(text.split()) for text in texts
    ]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_characters_survive_the_round_trip(texts: list[str]) -> None:
    vocab = Vocabulary.build(texts, tokenizer="characters")
    assert vocab.decode(vocab.encode(texts, strict=True)) == texts


def test_decode_stops_at_the_first_end_or_padding_and_skips_the_start() -> None:
    vocab = Vocabulary(["a", "b"])
    assert vocab.decode([[2, 4, 5, 3, 4], [4, 0, 5, 3, 3], [5, 5, 5, 5, 1]]) == [
        "a b",
        "a",
        "b b b b <unk>",
    ]


def test_decode_reads_the_first_hypothesis_of_each_row() -> None:
    ids = np.array([[[4, 3], [5, 3]], [[5, 3], [4, 3]]])
    assert Vocabulary(["a", "b"]).decode(ids) == ["a", "b"]


def test_no_rows_are_no_texts() -> None:
    vocab = Vocabulary(["a"])
    assert vocab.encode([]).shape == (0, 0)
    assert vocab.decode(vocab.encode([])) == []


@pytest.mark.parametrize("bad", [-1, 6])
def test_decode_refuses_ids_out_of_range(bad: int) -> None:
    with pytest.raises(ValueError, match=rf"0\.\.5.*Received: {bad} at row 1, posit"):
        Vocabulary(["a", "b"]).decode([[4, 3, 0], [3, 0, bad]])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([4, 3], r"shape \(2,\); put a single row in a list"),
        ([[4.0, 3.0]], "dtype float64"),
        ([[4, 3], [3]], "unequal length"),
        (np.zeros((2, 0, 3), int), r"shape \(2, 0, 3\)"),
    ],
)
def test_decode_refuses_what_is_no_batch_of_ids(ids: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(["a"]).decode(ids)  # type: ignore[arg-type]


def test_equal_means_same_tokens_and_tokenizer() -> None:
    assert Vocabulary(["a", "b"]) == Vocabulary(["a", "b"])
    assert hash(Vocabulary(["a"])) == hash(Vocabulary(["a"]))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != Vocabulary(["a"], tokenizer="characters")
    assert Vocabulary(["a"]) != ("a",)


@pytest.mark.parametrize("tokenizer", ["whitespace", "characters"])
def test_a_loaded_vocabulary_is_the_saved_one(tmp_path, tokenizer: str) -> None:
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


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "vocab.json"
    Vocabulary(["a"]).save(path)
    with pytest.raises(UnicodeEncodeError):
        Vocabulary(["\udc80"]).save(path)
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
        (f'{{{SPECIALS}, "a": 4, "a": 5}}', "'a' stands in it twice"),
        (f'{{{SPECIALS}, "a": true}}', "the id of 'a' must be an integer"),
        (f'{{{SPECIALS}, "a": "4"}}', "the id of 'a' must be an integer"),
        (f'{{{SPECIALS}, "a": -1}}', "4 is missing"),
        (f'{{{SPECIALS}, "": 4}}', "empty string"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, text, message) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


def test_a_file_in_another_encoding_is_named(tmp_path) -> None:
    path = tmp_path / "vocab.json"
    path.write_bytes('{"ä": 4}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"vocab\.json is not a JSON file in UTF-8"):
        Vocabulary.load(path)


def test_a_width_justifies_texts_and_strips_decoded_ones() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    ids = vocab.encode(["a", "aaa"])
    assert ids.tolist() == [[5, 5, 4, 3], [4, 4, 4, 3]]
    assert vocab.decode(ids) == ["a", "aaa"]
    assert vocab != Vocabulary(["a", " "], tokenizer="characters")


def test_a_text_longer_than_the_width_is_refused() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    with pytest.raises(ValueError, match=r"at most 3 characters.*Received: 'aaaa', 4"):
        vocab.encode(["a", "aaaa"])


@pytest.mark.parametrize(
    "options", [{"tokenizer": "whitespace"}, {"tokens": ["a"]}, {"width": 0}]
)
def test_a_width_needs_characters_and_a_space(options: dict) -> None:
    whole = {"tokens": ["a", " "], "tokenizer": "characters", "width": 3, **options}
    with pytest.raises(ValueError, match="`width`"):
        Vocabulary(**whole)


def test_a_width_survives_saving_where_it_is_passed(tmp_path: Path) -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    vocab.save(tmp_path / "vocab.json")
    again = Vocabulary.load(tmp_path / "vocab.json", tokenizer="characters", width=3)
    assert again == vocab


def test_names_are_the_tokens_of_a_row_up_to_its_padding() -> None:
    vocab = Vocabulary(["a", "b"])
    assert vocab.names(np.array([4, 1, 5, 3, 0, 0])) == ["a", "<unk>", "b", "</s>"]
    assert vocab.names([4, 5]) == ["a", "b"]
    assert vocab.names([0]) == []
    with pytest.raises(ValueError, match=r"must lie in 0..5. Received ids from 4 to 6"):
        vocab.names([4, 6])
    with pytest.raises(ValueError, match=r"one row.*\(1, 2\)"):
        vocab.names([[4, 5]])
