"""A sweep in a separate process, for tests that kill it.

Usage: `python sweep_process.py FOLDER`. With HOLD=2 in the environment, the second
trial of the process writes a file `held` after its first epoch, and waits to be killed.
With PAUSE=0.5 each epoch takes 0.5 seconds longer.
"""

import os
import sys
import time
from pathlib import Path

import keras

from kseq.data import AdditionTask
from kseq.tuning import search

TRIALS = 0


class Hold(keras.callbacks.Callback):
    """Waits in one trial."""

    def on_train_begin(self, logs: object = None) -> None:
        global TRIALS
        TRIALS += 1

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if str(TRIALS) == os.environ.get("HOLD"):
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
        max_epochs=2,
        callbacks=[Hold()],
        worker_timeout=12,
        verbose=0,
    )
    print(f"trained {TRIALS}")
    print(sweep.results()[["trial", "status", "score"]].to_csv(index=False))
