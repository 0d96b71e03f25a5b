"""Architectures of well-known systems, by name."""

from typing import Any

from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_choice

PRESETS: dict[str, dict[str, Any]] = {
    "addition": {
        "source_vocab_size": 16,
        "target_vocab_size": 16,
        "source_representation": "one_hot",
        "reverse_source": True,
        "units": 128,
    },
    "sockeye-seqcopy": {
        "source_vocab_size": 15,
        "target_vocab_size": 15,
        "embedding_dim": 32,
        "encoder_direction": "bidirectional",
        "units": 64,
        "attention": "dot",
    },
    "cntk-g2p": {
        "source_vocab_size": 69,
        "target_vocab_size": 69,
        "source_representation": "one_hot",
        "reverse_source": True,
        "units": 128,
        "layers": 2,
        "decoder_init_layers": "first",
        "stabilizer": "shared",
    },
    "pytorch-multi30k": {
        "source_vocab_size": 7855,
        "target_vocab_size": 5893,
        "embedding_dim": 256,
        "reverse_source": True,
        "units": 512,
        "layers": 2,
        "embedding_dropout": 0.5,
        "dropout": 0.5,
        "kernel_initializer": "uniform",
        "recurrent_initializer": "uniform",
        "initializer_scale": 0.08,
    },
    "joeynmt-rnn": {
        "source_vocab_size": 54,
        "target_vocab_size": 54,
        "embedding_dim": 16,
        "encoder_direction": "bidirectional",
        "encoder_units": 128,
        "decoder_units": 64,
        "attention": "general",
        "input_feeding": True,
        "decoder_init_projection": "dense",
        "embedding_dropout": 0.1,
        "hidden_dropout": 0.1,
    },
}


def preset(name: str, **changes: Any) -> Seq2SeqConfig:
    """Returns the architecture of a well-known system.

    The vocabularies have the sizes of the original system:

    - `"addition"`, 150,544 parameters: the addition example of Keras's documentation,
      with a decoder that starts from the encoder's state; 16 tokens on each side.
    - `"sockeye-seqcopy"`, 51,663: the sequence copy tutorial of Sockeye 1; 11 symbols.
    - `"cntk-g2p"`, 474,822: the grapheme-to-phoneme example of CNTK 599A, with two
      layers, where the upper decoder layer starts from zeros; 69 shared symbols. CNTK
      reverses the whole source; kseq leaves `</s>` last.
    - `"pytorch-multi30k"`, 13,890,821: the first of the well-known PyTorch
      sequence-to-sequence tutorials, German to English. PyTorch counts 13,899,013: it
      has two bias vectors where Keras has one, 4 * 512 numbers in each of 4 layers.
    - `"joeynmt-rnn"`, 120,886: the reverse task of JoeyNMT's tutorial; 50 symbols.

    Args:
        name: One of the names above.
        **changes: Fields of `Seq2SeqConfig` with other values, such as
            `source_vocab_size`.

    Returns:
        A `Seq2SeqConfig`.

    Raises:
        ValueError: If the name is unknown or a change is invalid.

    Example:
        >>> from kseq import build_seq2seq, preset
        >>> model = build_seq2seq(preset("sockeye-seqcopy"))
        >>> model.count_params()
        51663
        >>> preset("addition", units=256).decoder.units
        256
    """
    check_choice("name", name, PRESETS)
    return Seq2SeqConfig.from_dict({**PRESETS[name], **changes})
