"""Architectures of well-known systems, and their documented sizes."""

import re

import numpy as np
import pytest

from kseq import Seq2SeqConfig, build_seq2seq, preset
from kseq.config.presets import PRESETS

COUNTS = {
    "addition": 150_544,
    "sockeye-seqcopy": 51_663,
    "cntk-g2p": 474_822,
    "pytorch-multi30k": 13_890_821,
    "joeynmt-rnn": 120_886,
}


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_has_the_documented_number_of_parameters(name: str) -> None:
    match = re.search(rf'`"{name}"`, ([\d,]+)', preset.__doc__ or "")
    assert match is not None
    documented = int(match[1].rstrip(",").replace(",", ""))
    assert documented == COUNTS[name] == build_seq2seq(preset(name)).count_params()


@pytest.mark.parametrize("name", [each for each in PRESETS if "pytorch" not in each])
def test_a_preset_trains_and_decodes(name: str) -> None:
    config = preset(name)
    model = build_seq2seq(config)
    model.compile()
    source = np.array([[5, 6, 7, 3], [8, 3, 0, 0]])
    feed = {"encoder_inputs": source, "decoder_inputs": np.array([[2, 5], [2, 0]])}
    assert np.isfinite(model.train_on_batch(feed, np.array([[5, 3], [3, 0]]))[0])
    if config.attention is not None:
        result = model.generate(source, max_length=2, return_attention=True)
        assert result.attention is not None
        assert result.attention.shape[2:] == (result.tokens.shape[2], 4)


def test_pytorch_counts_a_second_bias_in_each_recurrent_layer() -> None:
    source, target, width, units = 7855, 5893, 256, 512
    bottom = 4 * units * (width + units + 2)
    top = 4 * units * (units + units + 2)
    embeddings = source * width + target * width
    pytorch = embeddings + 2 * (bottom + top) + (units + 1) * target
    assert pytorch == 13_899_013 == COUNTS["pytorch-multi30k"] + 4 * 2048
    assert f"{pytorch:,}" in (preset.__doc__ or "")


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_a_config_to_change(name: str) -> None:
    made = preset(name)
    assert isinstance(made, Seq2SeqConfig)
    assert Seq2SeqConfig.from_json(made.to_json()) == made
    changed = preset(name, source_vocab_size=20, target_vocab_size=21)
    assert (changed.encoder.vocab_size, changed.decoder.vocab_size) == (20, 21)
    assert changed == made.replace(source_vocab_size=20, target_vocab_size=21)
    assert preset(name) == made  # as it was


def test_an_unknown_name_is_refused_with_all_names() -> None:
    with pytest.raises(ValueError, match=r"`name` must be .*'addition'.*'adition'"):
        preset("adition")


def test_changes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`unit`.*Did you mean `units`\?"):
        preset("addition", unit=64)
    with pytest.raises(ValueError, match=r"`encoder_units` must be even.*7"):
        preset("sockeye-seqcopy", units=7)
