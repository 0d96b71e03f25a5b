"""A small model with attention and different outputs for different sources."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from fastapi.testclient import TestClient

from kseq import Translator, build_seq2seq
from kseq.data import Vocabulary
from kseq.serving.app import build_app
from kseq.serving.service import Service
from kseq.serving.settings import ServingSettings

LETTERS = Vocabulary(list("abcdefg<&"), tokenizer="characters")
SOUNDS = Vocabulary([f"S{k}" for k in range(7)] + ["<b>"])


def make(**settings: Any) -> Translator:
    keras.utils.set_random_seed(1)
    model = build_seq2seq(
        **{
            "source_vocab_size": len(LETTERS),
            "target_vocab_size": len(SOUNDS),
            "units": 8,
            "embedding_dim": 4,
            "attention": "dot",
            "kernel_initializer": "uniform",
            "initializer_scale": 1.5,
            **settings,
        }
    )
    return Translator(model, LETTERS, SOUNDS)


@pytest.fixture(scope="session")
def translator() -> Translator:
    return make()


@pytest.fixture(scope="session")
def folder(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "model"
    translator.save(path)
    return path


@pytest.fixture(scope="session")
def client(translator: Translator) -> Iterator[TestClient]:
    """A client of a server with small limits."""
    settings = ServingSettings(
        beam_width=3, max_batch=4, max_instances=8, max_source_length=20, max_body=4096
    )
    with TestClient(build_app(Service(translator, settings))) as client:
        yield client
