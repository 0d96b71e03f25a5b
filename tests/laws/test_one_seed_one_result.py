"""Guarantee 8: one seed gives one result, in any process."""

import keras
import numpy as np
from laws.children import run_child

from kseq import build_seq2seq

TRAIN = """
    import hashlib

    import keras
    import numpy as np

    from kseq import build_seq2seq
    from kseq.data import AdditionTask, CopyTask, from_pairs

    keras.utils.set_random_seed(5)
    task = AdditionTask(digits=2)
    train, valid = task.split(300, 30, seed=1)
    model = build_seq2seq(
        source_vocab_size=len(task.vocab), target_vocab_size=len(task.vocab),
        units=8, layers=2, embedding_dim=5, encoder_direction="bidirectional_first",
        dropout=0.3, recurrent_dropout=0.2, embedding_dropout=0.1)
    model.compile()
    model.fit(train.dataset(32, seed=2), epochs=2, verbose=0,
              validation_data=valid.dataset(30, shuffle=False))
    model.fit(train.pydataset(32, seed=2), epochs=1, verbose=0)
    model.fit(task.stream(16, seed=3), steps_per_epoch=4, verbose=0)
    looking = build_seq2seq(
        source_vocab_size=len(task.vocab), target_vocab_size=len(task.vocab),
        units=8, embedding_dim=5, attention="location_sensitive", input_feeding=True,
        hidden_dropout=0.2, input_dropout=0.2, recurrent_dropout=0.2)
    looking.compile(teacher_forcing_ratio=0.5)
    looking.fit(train.dataset(32, seed=2), epochs=1, verbose=0)
    words = [f"word{k % 7} other{k % 11}" for k in range(50)]
    pairs = from_pairs(words, words)
    found = model.generate(valid.source)
    parts = [*model.get_weights(), *looking.get_weights(), found.tokens, found.scores,
             pairs.source, CopyTask().sample(50, seed=4).target]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    print(digest.hexdigest())
"""


def test_data_weights_and_outputs_are_the_same_in_every_process() -> None:
    assert run_child(TRAIN, hash_seed=1) == run_child(TRAIN, hash_seed=2)


def test_another_seed_gives_other_weights() -> None:
    def kernel(seed: int) -> np.ndarray:
        keras.utils.set_random_seed(seed)
        model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        return model.get_layer("decoder_output").get_weights()[0]

    assert np.array_equal(kernel(1), kernel(1))
    assert not np.isclose(kernel(1), kernel(2)).any()
