"""Model folders: their files, and when they may be resumed or replaced."""

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.storage.model_folder import FORMAT_VERSION, ModelFolder
from kseq.storage.run_record import write_record

CONFIG = {"format_version": FORMAT_VERSION, "source_vocab": {}, "target_vocab": {}}


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """A folder that does not exist yet."""
    return ModelFolder(tmp_path / "run")


def fill(folder: ModelFolder, *names: str) -> None:
    for name in names:
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def begin(folder: ModelFolder) -> None:
    fill(
        folder, "settings.yaml", "log.txt", ".lock", "config.json", "vocab.source.json"
    )


def train(folder: ModelFolder) -> None:
    begin(folder)
    fill(folder, "model.keras", "checkpoints/00001.keras", "state/0000000003.npz")


def listing(folder: ModelFolder) -> list[str]:
    return sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*"))


# Beginning, resuming and replacing a run.


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_run_begins_in_an_empty_folder(
    folder: ModelFolder, is_there: bool, resume: bool
) -> None:
    if is_there:
        folder.path.mkdir()
        fill(folder, ".gitignore")
    assert folder.check_resumable(resume, overwrite=False) is False


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_without_a_state_begins_again(folder: ModelFolder, resume: bool) -> None:
    begin(folder)
    assert folder.check_resumable(resume, overwrite=False) is False


def test_a_run_with_a_state_can_be_resumed(folder: ModelFolder) -> None:
    train(folder)
    assert folder.check_resumable(resume=True, overwrite=False) is True


def test_a_run_is_changed_only_on_request(folder: ModelFolder) -> None:
    train(folder)
    before = listing(folder)
    with pytest.raises(FileExistsError, match="Pass `resume` to continue it, `overwr"):
        folder.check_resumable(resume=False, overwrite=False)
    assert listing(folder) == before


def test_a_run_can_be_replaced(folder: ModelFolder) -> None:
    train(folder)
    assert folder.check_resumable(resume=False, overwrite=True) is False


def test_a_run_cannot_be_both_resumed_and_replaced(folder: ModelFolder) -> None:
    with pytest.raises(ValueError, match="Only one of `resume` and `overwrite`"):
        folder.check_resumable(resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("lost", "message"), [("state", "a saved state"), ("settings", "settings.yaml")]
)
def test_a_run_without_state_or_settings_cannot_be_resumed(
    folder: ModelFolder, lost: str, message: str
) -> None:
    train(folder)
    path = folder.settings if lost == "settings" else next(folder.path.glob("state/*"))
    path.unlink()
    with pytest.raises(FileExistsError, match=f"cannot be resumed: it lacks {message}"):
        folder.check_resumable(resume=True, overwrite=False)


@pytest.mark.parametrize("name", ["notes.txt", ".git/config", "model.keras.bak"])
def test_other_files_are_never_replaced(folder: ModelFolder, name: str) -> None:
    train(folder)
    fill(folder, name)
    first = name.split("/")[0]
    with pytest.raises(
        FileExistsError, match=f"holds '{first}', which is not from kseq"
    ):
        folder.check_resumable(resume=False, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_not_replaced_by_a_folder(
    folder: ModelFolder, overwrite: bool
) -> None:
    folder.path.write_text("mine")
    with pytest.raises(FileExistsError, match="is a file and is not replaced"):
        folder.check_resumable(resume=False, overwrite=overwrite)
    assert folder.path.read_text() == "mine"


def test_clearing_keeps_the_lock(folder: ModelFolder) -> None:
    train(folder)
    fill(folder, "tokenizer.source.model", f".model.keras.{'0' * 32}.keras")
    folder.clear()
    assert listing(folder) == [".lock"]


def test_a_half_cleared_folder_is_not_a_run(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(folder)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.clear()
    assert not folder.is_run()
    with pytest.raises(FileExistsError, match="cannot be resumed"):
        folder.check_resumable(resume=True, overwrite=False)


def test_only_one_program_trains_in_a_folder(folder: ModelFolder) -> None:
    with (
        folder.lock(),
        pytest.raises(FileExistsError, match="Another program is training in"),
        ModelFolder(folder.path).lock(),
    ):
        pass
    with ModelFolder(folder.path).lock():  # the other has released it
        pass


def test_temporary_files_are_removed(folder: ModelFolder) -> None:
    train(folder)
    before = listing(folder)
    fill(
        folder,
        f".model.keras.{'0' * 32}.keras",
        f"checkpoints/.00002.keras.{'a' * 32}.keras",
        f"state/.0000000006.npz.{'b' * 32}.npz",
    )
    folder.remove_temporary_files()
    assert listing(folder) == before


def test_other_hidden_files_are_kept(folder: ModelFolder) -> None:
    fill(folder, ".gitignore", f"checkpoints/.{'0' * 32}")
    folder.remove_temporary_files()
    assert listing(folder) == [".gitignore", "checkpoints", f"checkpoints/.{'0' * 32}"]


# Checkpoints.


@given(
    count=st.integers(1, 9), keep=st.integers(0, 9), best=st.none() | st.integers(1, 9)
)
def test_the_last_checkpoints_and_the_best_are_kept(
    tmp_path_factory: pytest.TempPathFactory, count: int, keep: int, best: int | None
) -> None:
    folder = ModelFolder(tmp_path_factory.mktemp("run"))
    fill(folder, *(f"checkpoints/{number:05d}.keras" for number in range(1, count + 1)))
    folder.remove_old_checkpoints(keep, best)
    last = range(max(1, count - keep + 1) if keep else 1, count + 1)
    expected = {*last, best} & {*range(1, count + 1)}
    assert list(folder.checkpoints()) == sorted(expected)


def test_a_checkpoint_has_a_number(folder: ModelFolder) -> None:
    fill(folder, "checkpoints/00002.keras", "checkpoints/00011.keras", "model.keras")
    assert folder.find_checkpoint(11).name == "00011.keras"
    assert folder.find_checkpoint(None) == folder.model
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint 3. Its checkpoints: 2, 11"
    ):
        folder.find_checkpoint(3)


def test_a_missing_model_is_explained(folder: ModelFolder) -> None:
    with pytest.raises(FileNotFoundError, match="It is not a model folder"):
        folder.find_checkpoint(None)
    begin(folder)
    with pytest.raises(FileNotFoundError, match="not reached its first checkpoint"):
        folder.find_checkpoint(None)


def test_a_damaged_checkpoint_is_detected(folder: ModelFolder) -> None:
    path = folder.checkpoint(1)
    assert not folder.has_checkpoint(1)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights", bytes(range(256)))
    assert folder.has_checkpoint(1)
    content = path.read_bytes()
    for damaged in (content[:-30], b"", content.replace(b"\x20\x21", b"\x20\x22")):
        path.write_bytes(damaged)
        assert not folder.has_checkpoint(1)


def test_a_checkpoint_becomes_the_model(folder: ModelFolder) -> None:
    fill(folder, "checkpoints/00001.keras", "model.keras")
    folder.checkpoint(1).write_text("new")
    folder.use_checkpoint(1)
    assert folder.model.read_text() == "new"
    assert listing(folder) == ["checkpoints", "checkpoints/00001.keras", "model.keras"]


# Files.


def test_metrics_are_read_as_they_were_written(folder: ModelFolder) -> None:
    folder.path.mkdir()
    rows = [{"checkpoint": k, "valid_loss": 1 / 3 / k} for k in (1, 2, 3)]
    folder.write_metrics(rows)
    assert folder.read_metrics().to_dict("records") == rows


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_without_a_checkpoint_has_no_metrics(
    folder: ModelFolder, empty: bool
) -> None:
    folder.path.mkdir()
    if empty:
        folder.write_metrics([])
    with pytest.raises(FileNotFoundError, match=r"has no metrics.csv"):
        folder.read_metrics()


def test_the_configuration_is_read_as_it_was_written(folder: ModelFolder) -> None:
    folder.path.mkdir()
    folder.write_config({"source_vocab": {"é": 1}, "target_vocab": {}})
    config = folder.read_config()
    assert config["source_vocab"] == {"é": 1}
    assert config["format_version"] == FORMAT_VERSION
    assert config["kseq_version"]


def test_a_folder_of_a_newer_kseq_is_refused(folder: ModelFolder) -> None:
    fill(folder, "config.json")
    config = {**CONFIG, "format_version": FORMAT_VERSION + 1}
    (folder.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"version 2, .* up to 1. Install a newer"):
        folder.read_config()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', "\udcff"])
def test_other_configurations_are_refused(folder: ModelFolder, text: str) -> None:
    fill(folder, "config.json")
    path = folder.path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="is not the configuration of a kseq model"):
        folder.read_config()


def test_a_folder_with_a_record_is_a_run(folder: ModelFolder) -> None:
    folder.path.mkdir()
    assert not folder.is_run()
    write_record(folder, {"units": 8})
    assert folder.is_run()
