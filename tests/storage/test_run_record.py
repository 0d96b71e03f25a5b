"""The record of a run, and the settings that may differ in a resumed run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import (
    changed_start_files,
    check_record,
    read_record,
    write_record,
)

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
BEGUN = {"units": 8, "source": ["a.de", "b.de"], "max_updates": None, "show": 3}


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    folder = ModelFolder(tmp_path)
    folder.write_config({"source_vocab": {}, "target_vocab": {}})
    write_record(folder, BEGUN)
    return folder


@given(record=st.dictionaries(st.text("abc_", min_size=1), VALUES | st.lists(VALUES)))
@settings(max_examples=30)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    folder = ModelFolder(tmp_path_factory.mktemp("run"))
    write_record(folder, record)
    assert read_record(folder) == record
    assert list(read_record(folder)) == list(record)


def test_tuples_and_paths_are_written_as_lists_and_strings(folder: ModelFolder) -> None:
    write_record(folder, {"freeze": ("a", "b"), "source": Path("x.de")})
    assert read_record(folder) == {"freeze": ["a", "b"], "source": "x.de"}


def test_a_run_resumes_with_the_same_settings(folder: ModelFolder) -> None:
    assert check_record(folder, {**BEGUN, "source": ("a.de", "b.de")}) == []


def test_settings_without_effect_on_updates_may_differ(folder: ModelFolder) -> None:
    changes = check_record(folder, {**BEGUN, "max_updates": 9, "show": 0})
    assert changes == ["`max_updates` was None, now 9", "`show` was 3, now 0"]


def test_other_settings_must_not_differ(folder: ModelFolder) -> None:
    with pytest.raises(ValueError, match="began with other settings") as caught:
        check_record(folder, {**BEGUN, "units": 9, "source": ["a.de"], "show": 0})
    message = str(caught.value)
    assert "`units` was 8, now 9" in message
    assert "may only differ in device, keep_checkpoints, " in message
    assert "and the paths of its files." in message
    assert "`show` was" not in message
    assert "`source` was" not in message


def test_paths_are_recorded_as_absolute_paths(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.de").touch()
    monkeypatch.chdir(tmp_path)
    record = {"source": ("a.de", "gone"), "parameters": "a.de", "units": "a.de"}
    write_record(folder, record)
    full = str(tmp_path / "a.de")
    expected = {"source": [full, "gone"], "parameters": full, "units": "a.de"}
    assert read_record(folder) == expected
    monkeypatch.chdir("/")
    assert check_record(folder, {**record, **expected}) == []


def test_paths_of_files_may_differ(folder: ModelFolder) -> None:
    write_record(folder, {**BEGUN, "source_vocab": "v.json", "parameters": None})
    moved = {**BEGUN, "source": ["x"], "source_vocab": "w.json", "parameters": None}
    changes = check_record(folder, moved)
    assert changes == [
        "`source` was ['a.de', 'b.de'], now ['x']",
        "`source_vocab` was 'v.json', now 'w.json'",
    ]
    assert changed_start_files(folder, moved) == {"source_vocab": "w.json"}
    with pytest.raises(ValueError, match="`parameters` was None, now 'm'"):
        check_record(folder, {**moved, "parameters": "m"})


def test_a_choice_that_is_new_or_gone_is_a_difference(folder: ModelFolder) -> None:
    with pytest.raises(ValueError, match="`units` was 8, now None; `cell` was None"):
        check_record(
            folder, {**{k: v for k, v in BEGUN.items() if k != "units"}, "cell": "gru"}
        )


def test_a_newer_folder_is_told_before_its_settings(folder: ModelFolder) -> None:
    path = folder.path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 9}))
    with pytest.raises(ValueError, match="format version 9"):
        check_record(folder, {"other": 1})


@pytest.mark.parametrize("text", ["[1, 2]", "", "just words"])
def test_a_file_without_choices_is_no_record(folder: ModelFolder, text: str) -> None:
    folder.settings.write_text(text)
    with pytest.raises(ValueError, match="is not the record of a training run"):
        read_record(folder)


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe", b"!!python/object:os.x {}"])
def test_a_damaged_record_is_named(folder: ModelFolder, content: bytes) -> None:
    folder.settings.write_bytes(content)
    with pytest.raises(ValueError, match=r"settings.yaml' cannot be read"):
        read_record(folder)


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of a training run"):
        read_record(ModelFolder(tmp_path))


def test_numbers_keep_their_value(folder: ModelFolder) -> None:
    # YAML 1.1 takes 1e-05 for a string.
    write_record(folder, {"rate": 1e-5, "none": math.inf})
    assert read_record(folder) == {"rate": 1e-5, "none": math.inf}
