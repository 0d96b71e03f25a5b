"""Guarantee 4: a saved model, loaded in another process, is the same model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from laws.architectures import batch, build, groups_of_architectures
from laws.children import run_child

import kseq
from kseq.data import Vocabulary

COMPARE = """
    import sys
    from pathlib import Path

    import keras
    import numpy as np
    import tensorflow as tf

    import kseq

    folder, loader = Path(sys.argv[1]), sys.argv[2]
    tf.config.run_functions_eagerly(sys.argv[3] == "True")
    if loader == "plain":
        kseq.Seq2SeqConfig  # any public name will do
        load = keras.saving.load_model
    else:
        load = kseq.load_model
    count = 0
    for path in sorted(folder.glob("*.keras")):
        saved = np.load(path.with_suffix(".npz"))
        model = load(path)
        assert type(model) is kseq.Seq2Seq, path
        if loader == "kseq":  # The other gives the same class: to decode once will do.
            found = model.generate(saved["source"], max_length=7)
            assert np.array_equal(found.tokens, saved["tokens"]), path
            assert np.allclose(found.scores, saved["scores"], atol=1e-6), path
        step = kseq.build_inference_models(model)
        encoded = step.encoder(saved["source"])
        token = keras.ops.full((len(saved["source"]),), 2)
        logits = step.decoder_step({**encoded, "token": token})["logits"]
        assert np.allclose(logits, saved["logits"], atol=1e-6), path
        count += 1
    print(count)
"""


@groups_of_architectures(60)
def test_another_process_decodes_the_same_from_the_file(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    for k, row in enumerate(rows):
        model = build(row, seed=k)
        source = batch(row)[0]["encoder_inputs"]
        found = model.generate(source, max_length=7)
        inference = kseq.build_inference_models(model)
        token = ops.full((len(source),), 2)
        step = inference.decoder_step({**inference.encoder(source), "token": token})
        np.savez(
            tmp_path / f"{k:03}.npz",
            source=source,
            tokens=found.tokens,
            scores=found.scores,
            logits=step["logits"],
        )
        model.save(tmp_path / f"{k:03}.keras")
    # What is not compiled here is not compiled there: see conftest.py.
    eagerly = tf.config.functions_run_eagerly()
    assert int(run_child(COMPARE, tmp_path, "kseq", eagerly)) == len(rows)
    if not eagerly:  # Keras's own loader finds all layers alike.
        assert int(run_child(COMPARE, tmp_path, "plain", eagerly)) == len(rows)


def test_another_process_translates_the_same_from_the_folder(tmp_path: Path) -> None:
    source_vocab = Vocabulary(["ab", "ba", "aa"])
    target_vocab = Vocabulary(["x", "y", "z"], tokenizer="characters")
    model = kseq.build_seq2seq(
        source_vocab_size=len(source_vocab), target_vocab_size=len(target_vocab)
    )
    texts = ["ab ba", "aa", "", "ba ba ba unknown"]
    translator = kseq.Translator(model, source_vocab, target_vocab)
    translator.save(tmp_path / "folder")
    printed = run_child(
        """
        import json
        import sys

        import kseq

        translator = kseq.Translator.load(sys.argv[1])
        print(json.dumps(translator.translate(json.loads(sys.argv[2]))))
        ids = kseq.load_model(sys.argv[1]).generate([[4, 5, 3]], max_length=9)
        print(json.dumps(ids.tokens.tolist()))
        """,
        tmp_path / "folder",
        json.dumps(texts),
    )
    translations, tokens = map(json.loads, printed.splitlines())
    assert translations == translator.translate(texts)
    assert tokens == model.generate([[4, 5, 3]], max_length=9).tokens.tolist()


def test_a_compiled_model_goes_on_training_where_it_was(tmp_path: Path) -> None:
    row = {"source_representation": "embedding"}
    inputs, targets = batch(row)
    model = kseq.build_seq2seq(source_vocab_size=11, target_vocab_size=9, units=8)
    model.compile(optimizer="adam", metrics=["perplexity"])
    model.fit(inputs, targets, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
    again = kseq.load_model(tmp_path / "model.keras")
    again.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(again.evaluate(inputs, targets, verbose=0, return_dict=True)) == {
        "loss",
        "perplexity",
    }
