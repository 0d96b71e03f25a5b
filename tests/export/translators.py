"""Small translators to export, and processes in which kseq cannot be imported."""

import json
import subprocess
import sys
import textwrap
from typing import Any

import keras

from kseq import Translator, build_seq2seq
from kseq.data import Vocabulary

LETTERS = Vocabulary(list("abcdefgäλ"), tokenizer="characters")
WORDS = Vocabulary([f"S{k}" for k in range(6)] + ["größer"])
TEXTS = ["abc", "", "gfedcba", "zäλz", "a", "<s>"]


def make(seed: int = 1, source: Vocabulary = LETTERS, **settings: Any) -> Translator:
    keras.utils.set_random_seed(seed)
    model = build_seq2seq(
        **{
            "source_vocab_size": len(source),
            "target_vocab_size": len(WORDS),
            "units": 8,
            "embedding_dim": 4,
            "kernel_initializer": "uniform",
            "initializer_scale": 1.5,
            **settings,
        }
    )
    return Translator(model, source, WORDS)


def without_kseq(code: str, *arguments: object) -> Any:
    """Runs code in a new process, where kseq cannot be imported, and reads its JSON."""
    code = "import sys\nsys.modules['kseq'] = None\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"attention": "additive", "encoder_direction": "bidirectional", "cell": "gru"},
    {"attention": "location_sensitive", "input_feeding": True, "layers": 2},
    {
        "source_representation": "one_hot",
        "target_representation": "embedding",
        "reverse_source": True,
        "attention": "dot",
    },
]

# Loads SavedModels and runs their signatures.
RUN_ALL = """
    import json
    import tensorflow as tf

    given = json.loads(sys.argv[1])
    found = []
    for folder, feeds in given:
        signatures = tf.saved_model.load(folder).signatures
        outputs = {"": sorted(signatures)}
        for name, feed in feeds.items():
            run = signatures[name]
            dtypes = run.structured_input_signature[1]
            feed = {k: tf.constant(v, dtypes[k].dtype) for k, v in feed.items()}
            outputs[name] = {k: v.numpy() for k, v in run(**feed).items()}
        found.append(outputs)

    def plain(value):
        return value.decode() if isinstance(value, bytes) else value.tolist()

    print(json.dumps(found, default=plain))
"""
