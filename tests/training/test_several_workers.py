"""A training run on several workers, of which the chief writes the folder."""

from pathlib import Path

import numpy as np
from laws.children import run_child, run_workers

from kseq import load_model

TRAIN = """
    import sys

    name, folder, updates, resume = sys.argv[1:]

    from kseq import TrainingSettings, train
    from kseq.data import CopyTask

    task = CopyTask(symbols=5, min_length=1, max_length=6)
    examples, held_out = task.split(37, 10, seed=0)
    result = train(
        folder,
        examples,
        (held_out.source_texts(), held_out.target_texts()),
        {"units": 8, "embedding_dim": 8},
        TrainingSettings(
            batch_size=8,
            checkpoint_updates=4,
            max_updates=int(updates),
            metrics=("exact_match", "perplexity"),
            strategy=name,
        ),
        resume=resume == "True",
    )
    print(result.reason, len(result.metrics))
"""


def test_two_workers_train_and_resume_the_run_of_one(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run_child(TRAIN, "one_device", alone, 10, False) == "10 updates 3\n"
    # Ended after 6 updates it has a checkpoint there, and so one more in the end.
    for updates, resume, count in ((6, False, 2), (10, True, 4)):
        for code, printed, errors in run_workers(
            TRAIN, "multi_worker", together, updates, resume
        ):
            assert code == 0, errors[-4000:]
            assert printed.endswith(f"{updates} updates {count}\n")
    one, two = (load_model(folder) for folder in (alone, together))
    for ours, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
