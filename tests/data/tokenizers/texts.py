"""Texts to tokenize and to train tokenizers on."""

import hypothesis.strategies as st

TEXTS = [
    "The cat sat on the mat.",
    "The dog sat on the log, didn't it?",
    "A cat and a dog: that's all!",
] * 4
SIZE = 40  # pieces to train

# Any string that Python can hold, including lone surrogates.
any_text = st.text(st.characters(), max_size=20)
