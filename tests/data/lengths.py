"""Lengths of pairs, for the tests of buckets and of batch plans."""

import hypothesis.strategies as st
import numpy as np

from kseq.data import plan_batches

pairs_of_lengths = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60
)


def sides(pairs: list) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(pairs).T)


def skewed(size: int, longest: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Lengths like those of sentences: mostly short, a long tail, correlated sides."""
    rng = np.random.default_rng(0)
    source = np.exp(rng.normal(2.5, 0.6, size))
    target = source * np.exp(rng.normal(0.2, 0.2, size))
    source, target = (np.clip(x, 1, longest).astype(int) + 1 for x in (source, target))
    return source, target


def padding(source: np.ndarray, target: np.ndarray, **options: object) -> float:
    plan = plan_batches(source, target, batch_size=32, **options)
    room = sum(len(b) * (source[b].max() + target[b].max()) for b in plan)
    return 1 - (source.sum() + target.sum()) / room
