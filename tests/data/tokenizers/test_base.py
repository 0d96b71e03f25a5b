import copy
import json
import pickle
import sys
import threading
from typing import Any

import pytest
from data.tokenizers.texts import SIZE, TEXTS, any_text
from hypothesis import given

from kseq.data import (
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    tokenizers,
)

IDENTIFIERS: list[Any] = [
    "whitespace",
    "characters",
    "spacy:en",
    "moses:en",
    {"name": "moses", "language": "en", "escape": True},
    f"sentencepiece:{SIZE}",
    f"bpe:{SIZE}",
]


@pytest.fixture(scope="module")
def ready() -> dict[tuple[str, bool], Tokenizer]:
    """A tokenizer for each identifier, with and without lower-casing."""
    return {
        (str(identifier), lower_case): tokenizers.train(identifier, TEXTS, lower_case)
        for identifier in IDENTIFIERS
        for lower_case in (False, True)
    }


every_tokenizer = pytest.mark.parametrize(
    "identifier", [str(name) for name in IDENTIFIERS]
)
either_case = pytest.mark.parametrize("lower_case", [False, True])


def test_rules_see_the_original_case() -> None:
    text = "Dr. Roe met Mr. Poe."
    for cls in (SpacyTokenizer, MosesTokenizer):
        lowered = cls("en", lower_case=True).tokenize(text)
        assert lowered == [token.lower() for token in cls("en").tokenize(text)]
        assert "mr." in lowered


def test_references_are_normalized_like_outputs() -> None:
    text = "Don't wait, Mr. Smith!"
    assert WhitespaceTokenizer().normalize_reference(text) == text
    assert (
        MosesTokenizer("en", lower_case=True).normalize_reference(text) == text.lower()
    )
    spacy = SpacyTokenizer("en", lower_case=True)
    assert spacy.normalize_reference(text) == "do n't wait , mr. smith !"


@every_tokenizer
@either_case
@given(text=any_text)
def test_any_text_can_be_tokenized_and_detokenized(
    ready: Any, identifier: str, lower_case: bool, text: str
) -> None:
    tokenizer = ready[identifier, lower_case]
    tokens = tokenizer.tokenize(text)
    assert all(isinstance(token, str) and token for token in tokens)
    assert isinstance(tokenizer.detokenize(tokens), str)


@every_tokenizer
def test_lower_case_lowers_every_token(ready: Any, identifier: str) -> None:
    kept = " ".join(ready[identifier, False].tokenize("The Cat"))
    lowered = " ".join(ready[identifier, True].tokenize("The Cat"))
    assert kept != kept.lower()
    assert lowered == lowered.lower()
    assert ready[identifier, True].lower_case is True
    assert ready[identifier, False].lower_case is False


@every_tokenizer
def test_accents_are_not_normalized(ready: Any, identifier: str) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    tokenizer = tokenizers.train(
        f"{identifier.split(':')[0]}:{SIZE}"
        if identifier.startswith(("bpe", "sentencepiece"))
        else ready[identifier, False],
        [*TEXTS, composed, decomposed, "\u00bd"],
    )
    for text in (composed, decomposed, "\u00bd"):
        # Moses cuts the accent off, but keeps it.
        assert tokenizer.detokenize(tokenizer.tokenize(text)).replace(" ", "") == text


@every_tokenizer
@either_case
def test_config_and_assets_make_the_same_tokenizer(
    ready: Any, identifier: str, lower_case: bool
) -> None:
    tokenizer = ready[identifier, lower_case]
    config = json.loads(json.dumps(tokenizer.get_config()))
    for again in (
        tokenizers.get(config, tokenizer.assets),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.deepcopy(tokenizer),
    ):
        assert again is not tokenizer
        assert again == tokenizer
        assert hash(again) == hash(tokenizer)
        assert again.tokenize(TEXTS[1]) == tokenizer.tokenize(TEXTS[1])
        assert repr(again) == repr(tokenizer)


def test_tokenizers_that_differ_are_not_equal(ready: Any) -> None:
    made = [*ready.values(), MosesTokenizer("de"), SpacyTokenizer("de")]
    for first, tokenizer in enumerate(made):
        assert [other for other in made if other == tokenizer] == [made[first]]
    assert tokenizers.get("whitespace") != "whitespace"
    assert len(set(made)) == len(made)


@every_tokenizer
def test_threads_may_share_a_tokenizer(ready: Any, identifier: str) -> None:
    tokenizer = tokenizers.get(
        ready[identifier, False].get_config(), ready[identifier, False].assets
    )
    texts = [f"The cat {i} sat, {i * i} mats." for i in range(200)]
    expected = [ready[identifier, False].tokenize(text) for text in texts]
    found: list[Any] = [None] * 4

    def work(place: int) -> None:
        found[place] = [tokenizer.tokenize(text) for text in texts]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@every_tokenizer
def test_detokenizing_keeps_unk(ready: Any, identifier: str) -> None:
    tokenizer = ready[identifier, False]
    assert "<unk>" in tokenizer.detokenize([*tokenizer.tokenize("The cat"), "<unk>"])


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("spacy", lambda: SpacyTokenizer("de")),
        ("sacremoses", lambda: MosesTokenizer("de")),
        ("sentencepiece", lambda: SentencePieceTokenizer(b"model")),
        ("sentencepiece", lambda: SentencePieceTokenizer.train(["a"], 9)),
    ],
)
def test_a_missing_library_raises_an_error_with_the_pip_command(
    monkeypatch: pytest.MonkeyPatch, library: str, make: Any
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[text\]'$") as error:
        make()
    assert "\n" not in str(error.value)
