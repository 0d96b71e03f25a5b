"""The history of a run: its metrics and its best checkpoint."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kseq.cli.training_history import read_history
from kseq.storage.model_folder import ModelFolder


def test_a_folder_without_checkpoints_has_no_history(tmp_path: Path) -> None:
    assert read_history(ModelFolder(tmp_path)) is None


def test_a_table_without_checkpoints_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"metrics\.csv' is not the history"):
        read_history(ModelFolder(tmp_path))


def test_the_best_checkpoint_is_the_first_of_equals(
    run_folder: Path, tmp_path: Path
) -> None:
    settings = (run_folder / "settings.yaml").read_text()
    frame = pd.read_csv(run_folder / "metrics.csv")
    frame["valid_perplexity"] = [2.0, 1.0, 1.0]
    frame["valid_exact_match"] = [0.1, 0.9, 0.2]
    frame.loc[0, "valid_exact_match"] = np.nan
    for metric, best in (("perplexity", 2), ("exact_match", 2)):
        text = settings.replace(
            "optimized_metric: perplexity", f"optimized_metric: {metric}"
        )
        (tmp_path / "settings.yaml").write_text(text)
        frame.to_csv(tmp_path / "metrics.csv", index=False)
        history = read_history(ModelFolder(tmp_path))
        assert history is not None
        assert (history.metric, history.best) == (metric, best)
