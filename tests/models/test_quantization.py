"""Which layers of a model are quantized."""

from typing import Any

import keras
import pytest

import kseq


def make(**settings: Any) -> kseq.Seq2Seq:
    return kseq.build_seq2seq(
        source_vocab_size=9, target_vocab_size=9, units=8, **settings
    )


def find(model: kseq.Seq2Seq, name: str) -> Any:
    """Finds a layer at any depth."""
    (layer,) = [each for each in model._flatten_layers() if each.name == name]
    return layer


def test_what_cannot_be_quantized_is_refused() -> None:
    model = make(attention="dot")
    with pytest.raises(ValueError, match=r"`mode`.*'int8', 'int4', 'float8'.*'gptq'"):
        model.quantize(config=keras.quantizers.GPTQConfig(dataset=[], tokenizer=None))
    with pytest.raises(ValueError, match=r"`filters` must match.*int8.*'lstm'"):
        model.quantize("int8", filters="lstm")
    model.quantize("int8", filters=["decoder_out"])
    assert model.get_layer("decoder_embedding").quantization_mode is None
    with pytest.raises(ValueError, match=r"quantized already: decoder_output"):
        model.quantize("int8")
    assert model.get_layer("decoder_embedding").quantization_mode is None


def test_float8_excludes_layers_that_can_run_in_a_loop() -> None:
    model = make(attention="general", input_feeding=True)
    model.quantize("float8")
    assert model.get_layer("decoder_output").quantization_mode == "float8"
    assert find(model, "decoder_attention").query_layer.quantization_mode is None
