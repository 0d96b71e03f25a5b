"""The folder of a model or a run: what is there, and what may become of it."""

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
def place(tmp_path: Path) -> ModelFolder:
    """A folder that does not exist yet."""
    return ModelFolder(tmp_path / "run")


def fill(place: ModelFolder, *names: str) -> None:
    for name in names:
        path = place.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def begin(place: ModelFolder) -> None:
    fill(place, "settings.yaml", "log.txt", ".lock", "config.json", "vocab.source.json")


def train(place: ModelFolder) -> None:
    begin(place)
    fill(place, "model.keras", "checkpoints/00001.keras", "state/0000000003.npz")


def listing(place: ModelFolder) -> list[str]:
    return sorted(str(path.relative_to(place.path)) for path in place.path.rglob("*"))


# Whether a run may begin or go on.


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_run_begins_where_nothing_is(
    place: ModelFolder, is_there: bool, resume: bool
) -> None:
    if is_there:
        place.path.mkdir()
        fill(place, ".gitignore")
    assert place.may_resume(resume, overwrite=False) is False


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_stopped_before_its_first_state_begins_anew(
    place: ModelFolder, resume: bool
) -> None:
    begin(place)
    assert place.may_resume(resume, overwrite=False) is False


def test_a_run_with_a_state_goes_on_if_that_is_wanted(place: ModelFolder) -> None:
    train(place)
    assert place.may_resume(resume=True, overwrite=False) is True


def test_a_run_is_not_touched_unless_the_caller_says_how(place: ModelFolder) -> None:
    train(place)
    before = listing(place)
    with pytest.raises(FileExistsError, match="Pass `resume` to continue it, `overwr"):
        place.may_resume(resume=False, overwrite=False)
    assert listing(place) == before


def test_a_run_may_be_replaced(place: ModelFolder) -> None:
    train(place)
    assert place.may_resume(resume=False, overwrite=True) is False


def test_both_is_no_answer(place: ModelFolder) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        place.may_resume(resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("lost", "message"), [("state", "a saved state"), ("settings", "settings.yaml")]
)
def test_a_run_that_lacks_what_resuming_takes_is_not_begun_anew(
    place: ModelFolder, lost: str, message: str
) -> None:
    train(place)
    path = place.settings if lost == "settings" else next(place.path.glob("state/*"))
    path.unlink()
    with pytest.raises(FileExistsError, match=f"cannot be resumed: it lacks {message}"):
        place.may_resume(resume=True, overwrite=False)


@pytest.mark.parametrize("name", ["notes.txt", ".git/config", "model.keras.bak"])
def test_files_of_others_are_never_replaced(place: ModelFolder, name: str) -> None:
    train(place)
    fill(place, name)
    first = name.split("/")[0]
    with pytest.raises(FileExistsError, match=f"holds '{first}', which is not kseq's"):
        place.may_resume(resume=False, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(place: ModelFolder, overwrite: bool) -> None:
    place.path.write_text("mine")
    with pytest.raises(FileExistsError, match="is a file and is not replaced"):
        place.may_resume(resume=False, overwrite=overwrite)
    assert place.path.read_text() == "mine"


def test_clearing_leaves_the_lock_alone(place: ModelFolder) -> None:
    train(place)
    fill(place, "tokenizer.source.model", f".model.keras.{'0' * 32}.keras")
    place.clear()
    assert listing(place) == [".lock"]


def test_a_folder_that_is_half_cleared_is_no_run(
    place: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(place)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        place.clear()
    assert not place.is_run()
    with pytest.raises(FileExistsError, match="cannot be resumed"):
        place.may_resume(resume=True, overwrite=False)


def test_only_one_program_trains_in_a_folder(place: ModelFolder) -> None:
    with (
        place.lock(),
        pytest.raises(FileExistsError, match="Another program is training in"),
        ModelFolder(place.path).lock(),
    ):
        pass
    with ModelFolder(place.path).lock():  # it has ended
        pass


def test_what_was_being_written_is_swept_away(place: ModelFolder) -> None:
    train(place)
    before = listing(place)
    fill(
        place,
        f".model.keras.{'0' * 32}.keras",
        f"checkpoints/.00002.keras.{'a' * 32}.keras",
        f"state/.0000000006.npz.{'b' * 32}.npz",
    )
    place.sweep()
    assert listing(place) == before


def test_hidden_files_of_others_are_not_swept_away(place: ModelFolder) -> None:
    fill(place, ".gitignore", f"checkpoints/.{'0' * 32}")
    place.sweep()
    assert listing(place) == [".gitignore", "checkpoints", f"checkpoints/.{'0' * 32}"]


# Checkpoints.


@given(
    count=st.integers(1, 9), keep=st.integers(0, 9), best=st.none() | st.integers(1, 9)
)
def test_the_last_checkpoints_and_the_best_are_kept(
    tmp_path_factory: pytest.TempPathFactory, count: int, keep: int, best: int | None
) -> None:
    place = ModelFolder(tmp_path_factory.mktemp("run"))
    fill(place, *(f"checkpoints/{number:05d}.keras" for number in range(1, count + 1)))
    place.remove_old(keep, best)
    last = range(max(1, count - keep + 1) if keep else 1, count + 1)
    wanted = {*last, best} & {*range(1, count + 1)}
    assert list(place.checkpoints()) == sorted(wanted)


def test_a_checkpoint_is_found_by_its_number(place: ModelFolder) -> None:
    fill(place, "checkpoints/00002.keras", "checkpoints/00011.keras", "model.keras")
    assert place.find_checkpoint(11).name == "00011.keras"
    assert place.find_checkpoint(None) == place.model
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 3. There are: 2, 11"):
        place.find_checkpoint(3)


def test_a_folder_without_a_model_says_why(place: ModelFolder) -> None:
    with pytest.raises(FileNotFoundError, match="It is not the folder of a model"):
        place.find_checkpoint(None)
    begin(place)
    with pytest.raises(FileNotFoundError, match="not come to its first checkpoint"):
        place.find_checkpoint(None)


def test_a_damaged_checkpoint_is_told_from_a_whole_one(place: ModelFolder) -> None:
    path = place.checkpoint(1)
    assert not place.has_checkpoint(1)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights", bytes(range(256)))
    assert place.has_checkpoint(1)
    content = path.read_bytes()
    for damaged in (content[:-30], b"", content.replace(b"\x20\x21", b"\x20\x22")):
        path.write_bytes(damaged)
        assert not place.has_checkpoint(1)


def test_a_checkpoint_becomes_the_model_as_a_whole(place: ModelFolder) -> None:
    fill(place, "checkpoints/00001.keras", "model.keras")
    place.checkpoint(1).write_text("new")
    place.use_checkpoint(1)
    assert place.model.read_text() == "new"
    assert listing(place) == ["checkpoints", "checkpoints/00001.keras", "model.keras"]


# Files.


def test_metrics_are_read_as_they_were_written(place: ModelFolder) -> None:
    place.path.mkdir()
    rows = [{"checkpoint": k, "valid_loss": 1 / 3 / k} for k in (1, 2, 3)]
    place.write_rows(rows)
    assert place.metrics().to_dict("records") == rows


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_without_a_checkpoint_has_no_metrics(
    place: ModelFolder, empty: bool
) -> None:
    place.path.mkdir()
    if empty:
        place.write_rows([])
    with pytest.raises(FileNotFoundError, match=r"has no metrics.csv"):
        place.metrics()


def test_the_configuration_is_read_as_it_was_written(place: ModelFolder) -> None:
    place.path.mkdir()
    place.write_config({"source_vocab": {"é": 1}, "target_vocab": {}})
    config = place.read_config()
    assert config["source_vocab"] == {"é": 1}
    assert config["format_version"] == FORMAT_VERSION
    assert config["kseq_version"]


def test_a_folder_of_a_newer_kseq_is_refused(place: ModelFolder) -> None:
    fill(place, "config.json")
    config = {**CONFIG, "format_version": FORMAT_VERSION + 1}
    (place.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"version 2, .* up to 1. Install a newer"):
        place.read_config()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', "\udcff"])
def test_other_configurations_are_refused(place: ModelFolder, text: str) -> None:
    fill(place, "config.json")
    path = place.path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="is not the configuration of a model of kseq"):
        place.read_config()


def test_a_run_is_known_by_its_record(place: ModelFolder) -> None:
    place.path.mkdir()
    assert not place.is_run()
    write_record(place, {"units": 8})
    assert place.is_run()
