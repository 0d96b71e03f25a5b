"""A sweep in a process of its own, to be killed: `python tuning_child.py FOLDER`.

Where the environment has HOLD=2, the process's second trial writes a file `held` after
its first epoch, and waits to be killed. PAUSE=0.5 makes each epoch so much longer.
"""

import os
import sys
import time
from pathlib import Path

import keras

from kseq.data import AdditionTask
from kseq.tuning import search

BEGUN = 0


class Hold(keras.callbacks.Callback):
    """Waits for ever in one trial."""

    def on_train_begin(self, logs: object = None) -> None:
        global BEGUN
        BEGUN += 1

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if str(BEGUN) == os.environ.get("HOLD"):
            Path(sys.argv[1], "held").touch()
            time.sleep(600)


if __name__ == "__main__":
    data = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
    sweep = search(
        data,
        {"units": [4, 6, 8], "reverse_source": [False, True]},
        tuner="random",
        max_trials=4,
        objective="val_perplexity",
        directory=sys.argv[1],
        epochs=2,
        callbacks=[Hold()],
        worker_timeout=12,
        verbose=0,
    )
    print(f"trained {BEGUN}")
    print(sweep.results()[["trial", "status", "score"]].to_csv(index=False))
