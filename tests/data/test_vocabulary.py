import gzip
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from kseq.data import (
    CharacterTokenizer,
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    Vocabulary,
    WhitespaceTokenizer,
)
from kseq.special_tokens import END, PAD, SPECIAL_TOKENS, UNK

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
        (["a"], "words", "'whitespace', 'characters', .*Received: 'words'"),
        (["a"], "bpe:9", "'bpe:9' must be trained on texts first"),
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


def test_a_width_justifies_texts_and_strips_decoded_ones() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    ids = vocab.encode(["a", "aaa"])
    assert ids.tolist() == [[5, 5, 4, 3], [4, 4, 4, 3]]
    assert vocab.decode(ids) == ["a", "aaa"]
    assert vocab != Vocabulary(["a", " "], tokenizer="characters")


def test_a_justified_text_is_the_same_with_its_spaces_and_without() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    rows = vocab.encode(["a", "  a", "     a ", "a a"])
    assert rows.tolist() == [[5, 5, 4, 3]] * 3 + [[4, 5, 4, 3]]
    assert vocab.normalize_reference("  a") == "a"


def test_an_empty_text_and_a_part_of_a_text_are_not_justified() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    assert vocab.encode(["", "  "]).tolist() == [[END], [END]]
    parts = vocab.encode(["a", " a", "aaaa"], justify=False)
    assert parts.tolist() == [[4, 3, 0, 0, 0], [5, 4, 3, 0, 0], [4, 4, 4, 4, 3]]


def test_a_text_longer_than_the_width_is_refused() -> None:
    vocab = Vocabulary(["a", " "], tokenizer="characters", width=3)
    with pytest.raises(
        ValueError, match=r"at most 3 characters.*Received: 'aaaa' with 4"
    ):
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
    assert vocab.ids_to_tokens(np.array([4, 1, 5, 3, 0, 0])) == [
        "a",
        "<unk>",
        "b",
        "</s>",
    ]
    assert vocab.ids_to_tokens([4, 5]) == ["a", "b"]
    assert vocab.ids_to_tokens([0]) == []
    with pytest.raises(ValueError, match=r"must be in 0..5. Received: ids from 4 to 6"):
        vocab.ids_to_tokens([4, 6])
    with pytest.raises(ValueError, match=r"one row.*\(1, 2\)"):
        vocab.ids_to_tokens([[4, 5]])


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


@pytest.mark.parametrize("name", NAMES)
def test_a_built_vocabulary_knows_its_texts(
    built: dict[str, Vocabulary], name: str
) -> None:
    vocab = built[name]
    tokenizer = vocab.tokenizer
    assert isinstance(tokenizer, Tokenizer)
    counts = Counter(token for text in TEXTS for token in tokenizer.tokenize(text))
    assert set(vocab.tokens[4:]) == set(counts)
    assert [counts[token] for token in vocab.tokens[4:]] == sorted(
        counts.values(), reverse=True
    )
    ids = vocab.encode(TEXTS, strict=True)
    assert vocab.decode(ids) == [
        tokenizer.detokenize(tokenizer.tokenize(text)) for text in TEXTS
    ]
    assert vocab.decode([[2, UNK, 4, END]])[0].startswith("<unk>")


@pytest.mark.parametrize("name", NAMES)
@given(texts=st.lists(st.text(st.characters(), max_size=12), max_size=4))
def test_ids_are_in_range_whatever_the_text(
    built: dict[str, Vocabulary], name: str, texts: list[str]
) -> None:
    vocab = built[name]
    ids = vocab.encode(texts)
    assert ((ids >= 0) & (ids < len(vocab))).all()
    assert (ids == END).sum() == len(texts)
    assert all(isinstance(text, str) for text in vocab.decode(ids))


@pytest.mark.parametrize("name", NAMES)
def test_a_vocabulary_can_be_pickled(built: dict[str, Vocabulary], name: str) -> None:
    again = pickle.loads(pickle.dumps(built[name]))
    assert again == built[name]
    assert hash(again) == hash(built[name])
    assert again.encode(TEXTS).tolist() == built[name].encode(TEXTS).tolist()


def test_the_tokenizer_is_an_object_whatever_it_was_named_by() -> None:
    assert Vocabulary([]).tokenizer == WhitespaceTokenizer()
    assert Vocabulary([], "characters").tokenizer == CharacterTokenizer()
    assert Vocabulary([], "spacy:de").tokenizer == SpacyTokenizer("de")
    config = {"name": "moses", "language": "de", "lower_case": True}
    assert Vocabulary([], config).tokenizer == MosesTokenizer("de", lower_case=True)
    tokenizer = MosesTokenizer("de")
    assert Vocabulary([], tokenizer).tokenizer is tokenizer
    assert Vocabulary(["A"]) != Vocabulary(["A"], WhitespaceTokenizer(lower_case=True))


def test_build_lower_cases_where_asked() -> None:
    vocab = Vocabulary.build(["A a B"], lower_case=True)
    assert vocab.tokens[4:] == ("a", "b")
    assert vocab.encode(["B A"]).tolist() == [[5, 4, END]]
    assert Vocabulary.build(["A a B"], vocab.tokenizer) == vocab
    with pytest.raises(ValueError, match="`lower_case` must agree"):
        Vocabulary.build(["A"], WhitespaceTokenizer(), lower_case=True)


def test_a_width_counts_the_characters_after_lower_casing() -> None:
    tokenizer = CharacterTokenizer(lower_case=True)
    vocab = Vocabulary(["i", "\u0307", " "], tokenizer, width=3)
    assert vocab.encode(["\u0130"]).tolist() == [[6, 4, 5, END]]
    with pytest.raises(ValueError, match=r"at most 3 characters.* with 4"):
        vocab.encode(["\u0130\u0130"])


@given(st.lists(words, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_texts_never_matters(texts: list[str], random: Any) -> None:
    shuffled = random.sample(texts, len(texts))
    for tokenizer in ("whitespace", "characters"):
        built, again = (Vocabulary.build(each, tokenizer) for each in (texts, shuffled))
        assert built == again


def test_build_reads_no_text_ahead() -> None:
    done: list[str] = []

    class Recording(WhitespaceTokenizer):
        def tokenize(self, text: str) -> list[str]:
            done.append(text)
            return super().tokenize(text)

    def texts() -> Iterator[str]:
        for count in range(100):
            assert len(done) == count
            yield f"a {count % 7}"

    vocab = Vocabulary.build(texts(), Recording())
    assert len(done) == 100
    assert len(vocab) == 4 + 8


def test_a_tokenizer_is_not_trained_on_what_is_read_only_once() -> None:
    with pytest.raises(
        ValueError, match=r"readable twice.*a list_iterator.*from_files"
    ):
        Vocabulary.build(iter(TEXTS), "bpe:30")


def test_all_pieces_of_a_model_make_a_vocabulary_too() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, 30, "bpe")
    vocab = Vocabulary(tokenizer.pieces, tokenizer)
    assert vocab.tokens[4:] == tokenizer.pieces
    assert vocab.encode(["cast"], strict=True).max() < len(vocab)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_files_give_what_their_lines_give(tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", b"\xef\xbb\xbfb a\r\n\nb \xc3\xa4\xe2\x80\xa8b")
    second = write(tmp_path / "b.txt.gz", b"c b\nB")
    texts = ["b a", "", "b \xe4\u2028b", "c b", "B"]
    assert Vocabulary.from_files([first, str(second)]) == Vocabulary.build(texts)
    assert Vocabulary.from_files(first) == Vocabulary.build(texts[:3])
    assert Vocabulary.from_files(
        iter([first, second]), "characters", 2, 3, lower_case=True
    ) == Vocabulary.build(texts, "characters", 2, 3, lower_case=True)


@pytest.mark.parametrize("name", NAMES)
def test_files_train_a_tokenizer_where_it_is_needed(
    tmp_path: Path, built: dict[str, Vocabulary], name: str
) -> None:
    lines = "".join(f"{text}\n" for text in TEXTS).encode()
    assert Vocabulary.from_files(write(tmp_path / "a.gz", lines), name) == built[name]


@pytest.mark.parametrize("name", ["train.de", "train.de.gz"])
def test_a_line_in_another_encoding_is_named(tmp_path: Path, name: str) -> None:
    good = write(tmp_path / "good", b"a\n" * 9)
    bad = write(tmp_path / name, b"a\nb\n\xe4\n")
    for tokenizer in ("whitespace", "bpe:9"):
        with pytest.raises(ValueError, match=rf"{name}, line 3: not UTF-8"):
            Vocabulary.from_files([good, bad], tokenizer)


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ([], ValueError, "`paths` must name at least one file"),
        (3, TypeError, "`paths` must be a path or a list"),
        ("nowhere.txt", FileNotFoundError, r"nowhere\.txt"),
    ],
)
def test_paths_that_are_none_are_refused(
    paths: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Vocabulary.from_files(paths)


def test_a_large_file_is_never_held(tmp_path: Path) -> None:
    path = write(tmp_path / "large.txt", (b"a" * 100 + b" b c\n") * 40_000)
    Vocabulary.from_files(path, max_size=1)  # imports what it needs
    tracemalloc.start()
    try:
        vocab = Vocabulary.from_files(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(vocab) == 7
    assert peak < path.stat().st_size / 4


def test_a_string_lookup_gives_the_ids_of_encode() -> None:
    vocab = Vocabulary.build(["b a b", "c \u00e4"])
    texts = ["a b c", "\u00e4 z a", "b b b"]
    lookup, back = vocab.to_string_lookup(), vocab.to_string_lookup(inverse=True)
    ids = lookup([text.split() for text in texts]).numpy()
    assert ids.tolist() == vocab.encode(texts)[:, :-1].tolist()
    assert lookup(list(SPECIAL_TOKENS)).numpy().tolist() == [0, 1, 2, 3]
    every = back(np.arange(len(vocab))).numpy()
    assert tuple(token.decode() for token in every) == vocab.tokens
    assert lookup.vocabulary_size() == back.vocabulary_size() == len(vocab)
    with pytest.raises(TypeError, match="`inverse` must be True or False"):
        vocab.to_string_lookup(inverse="yes")  # type: ignore[arg-type]
