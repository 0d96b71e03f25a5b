"""The configuration of model folders, and loading models from files and folders."""

import json
from pathlib import Path

import pytest

from kseq import Seq2SeqConfig, load_model
from kseq.data import Vocabulary
from kseq.decoding import LengthRatio
from kseq.saving import load_vocabularies, write_model_config
from kseq.storage.model_folder import ModelFolder

LETTERS = Vocabulary(["a", "b"], tokenizer="characters")
WORDS = Vocabulary(["x", "y"])


def read_config(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "config.json").read_text("utf-8")))


def test_the_configuration_of_a_model_has_vocabularies_and_lengths(
    tmp_path: Path,
) -> None:
    config = Seq2SeqConfig(source_vocab_size=6, target_vocab_size=6, units=8)
    ratio = LengthRatio(1.5, 0.25, 2.0)
    write_model_config(
        ModelFolder(tmp_path), LETTERS, WORDS, model=config, length_ratio=ratio
    )
    written = read_config(tmp_path)
    assert list(written) == [
        *("format_version", "kseq_version", "source_vocab", "target_vocab"),
        *("length_ratio", "model"),
    ]
    assert written["length_ratio"] == {"mean": 1.5, "std": 0.25, "deviations": 2.0}
    assert written["model"] == config.to_dict()
    assert load_vocabularies(ModelFolder(tmp_path)) == (LETTERS, WORDS)


def test_the_configuration_of_prepared_data_has_its_settings(tmp_path: Path) -> None:
    write_model_config(ModelFolder(tmp_path), LETTERS, WORDS, data={"source": "a.de"})
    written = read_config(tmp_path)
    assert written["data"] == {"source": "a.de"}
    assert not {"model", "length_ratio"} & set(written)


def test_a_missing_or_damaged_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(FileNotFoundError, match=r"no model at '.*model\.keras'"):
        load_model(path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"model\.keras' cannot be read as a model"):
        load_model(path)
