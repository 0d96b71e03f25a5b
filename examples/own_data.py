"""Trains on two lists of strings and saves a translator."""

import keras

from kseq import Translator, build_seq2seq
from kseq.data import from_pairs

singular = ["cat", "dog", "fox", "bus", "box", "class", "city", "baby", "fly", "day"]
plural = ["cats", "dogs", "foxes", "buses", "boxes", "classes", "cities", "babies"]
plural += ["flies", "days"]

keras.utils.set_random_seed(0)
pairs = from_pairs(singular, plural, tokenizer="characters")
model = build_seq2seq(
    source_vocab_size=len(pairs.source_vocab),
    target_vocab_size=len(pairs.target_vocab),
    units=64,
    embedding_dim=16,
)
model.compile(optimizer=keras.optimizers.Adam(0.01))
model.fit(pairs.dataset(batch_size=10), epochs=60, verbose=0)

translator = Translator(model, pairs.source_vocab, pairs.target_vocab)
translator.save("plurals", overwrite=True)
print(Translator.load("plurals").translate(["cat", "city", "fox"]))
