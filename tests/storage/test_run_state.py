"""The state of a run on disk: exact, and the one before if the last is damaged."""

import errno
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kseq.storage.run_state import RunState, load_state, save_state

ARRAYS = st.sampled_from(["float32", "float16", "int64", "uint32", "bool"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))
)


def state(steps: int, **changes: Any) -> RunState:
    variables = {"model.0.a/kernel": np.full((2, 3), steps, "float32")}
    return RunState(steps, variables=variables, **changes)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(
    variables=st.dictionaries(st.text("ab./_01", min_size=1), ARRAYS, max_size=3),
    row=st.dictionaries(st.text(max_size=5), st.floats() | st.integers(0, 9)),
)
@settings(max_examples=40)
def test_a_saved_state_is_loaded_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    variables: dict[str, np.ndarray],
    row: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("run") / "state"
    saved = RunState(7, 1.5, 0.25, [row], {"source": "sum"}, variables)
    save_state(folder, saved)
    found = load_state(folder)
    assert found is not None
    assert found.variables.keys() == variables.keys()
    for name, array in variables.items():
        assert found.variables[name].dtype == array.dtype
        assert found.variables[name].tobytes() == array.tobytes()
    assert json.dumps(found.rows) == json.dumps(saved.rows)  # NaN is not NaN
    assert (found.steps, found.seconds, found.interval_seconds, found.fingerprints) == (
        (7, 1.5, 0.25, {"source": "sum"})
    )


def test_the_last_two_states_are_kept(tmp_path: Path) -> None:
    for steps in (3, 6, 9, 9, 12):
        save_state(tmp_path, state(steps))
    assert files(tmp_path) == ["0000000009.npz", "0000000012.npz"]
    found = load_state(tmp_path)
    assert found is not None
    assert found.steps == 12


def test_a_run_without_a_state_loads_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None
    # What a killed program leaves, and what others put there.
    (tmp_path / f".0000000003.npz.{'0' * 32}.npz").write_bytes(b"half")
    (tmp_path / "notes.npz").write_bytes(b"mine")
    assert load_state(tmp_path) is None


@given(data=st.data())
@settings(max_examples=60)
def test_the_state_before_a_damaged_one_is_loaded_with_a_warning(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, state(3))
    save_state(folder, state(6, rows=[{"checkpoint": 1, "loss": math.pi}]))
    last = folder / "0000000006.npz"
    content = bytearray(last.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        index = data.draw(st.integers(0, len(content) - 1))
        content[index] ^= data.draw(st.integers(1, 255))
    last.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_state(folder)
    assert found is not None
    if found.steps == 6:  # a byte without effect, such as a file's date
        assert (found.variables["model.0.a/kernel"] == 6).all()
        assert found.rows == [{"checkpoint": 1, "loss": math.pi}]
    else:
        assert found.steps == 3
        assert (found.variables["model.0.a/kernel"] == 3).all()
        (warning,) = caught
        assert "0000000006.npz' (" in str(warning.message)
        assert "resuming from '0000000003.npz'" in str(warning.message)


def test_damaged_states_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    save_state(tmp_path, state(3))
    (tmp_path / "0000000003.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"No state .* can be read: .*`parameters`"):
        load_state(tmp_path)


def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, state(3))
    save_state(tmp_path, state(6))

    def full(path: Path, **arrays: Any) -> None:
        path.write_bytes(b"PK half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, state(9))
    assert files(tmp_path) == ["0000000003.npz", "0000000006.npz"]
    found = load_state(tmp_path)
    assert found is not None
    assert found.steps == 6
