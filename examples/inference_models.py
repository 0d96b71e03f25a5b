"""Greedy decoding written as a plain Python loop.

`model.generate` decodes in one compiled graph. The loop below gives the same tokens. It
uses the two models of `build_inference_models`: the encoder and one step of the
decoder.
"""

import keras
from keras import ops

from kseq import build_inference_models, build_seq2seq
from kseq.data import ReverseTask
from kseq.special_tokens import END, START

keras.utils.set_random_seed(0)
task = ReverseTask(symbols=10, max_length=5)
train, test = task.split(5_000, 4, seed=0)
model = build_seq2seq(
    source_vocab_size=len(task.vocab),
    target_vocab_size=len(task.vocab),
    units=64,
    source_representation="one_hot",
)
model.compile(optimizer=keras.optimizers.Adam(0.01))
model.fit(train.dataset(batch_size=64), epochs=8, verbose=2)

inference = build_inference_models(model)
for source, text in zip(test.source, test.source_texts(), strict=True):
    # The encoder returns the memory and the initial states of the decoder.
    state = inference.encoder(ops.array([source]))
    token = ops.array([START])
    tokens: list[int] = []
    while len(tokens) < 20:
        # One step: previous token and states in, logits and new states out.
        outputs = inference.decoder_step({**state, "token": token})
        state = {**state, "states": outputs["states"]}
        token = ops.argmax(outputs["logits"], axis=-1)
        tokens.append(int(token[0]))
        if tokens[-1] == END:
            break
    generated = model.generate([source], max_length=20).tokens[0, 0]
    assert tokens == generated.tolist(), (tokens, generated)
    print(f"{text!r} -> {task.decode([tokens])[0]!r}")
