"""Files and folders are whole or not there at all."""

from pathlib import Path

import pytest

from kseq.files import whole_file, whole_folder


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["a.txt"]


def test_a_file_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "run"
    with whole_folder(path) as temporary:
        (temporary / "a.txt").write_text("new")
        assert not path.exists()
    assert listing(path) == ["a.txt"]
    assert listing(path.parent) == ["run"]


def test_a_folder_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "a.txt").write_text("old")
    with (
        pytest.raises(FileExistsError, match=r"run' exists already.*overwrite=True"),
        whole_folder(path),
    ):
        pytest.fail("not reached")
    assert listing(tmp_path) == ["run"]
    assert (path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_replaced_folder_is_gone(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "run"
    if is_folder:
        path.mkdir()
        (path / "a.txt").write_text("old")
    else:
        path.write_text("old")
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "b.txt").write_text("new")
        assert path.exists()
    assert listing(path) == ["b.txt"]
    assert listing(tmp_path) == ["run"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_leaves_the_older_folder_and_nothing_else(
    tmp_path: Path, exists: bool
) -> None:
    path = tmp_path / "run"
    if exists:
        path.mkdir()
        (path / "a.txt").write_text("old")

    def fail() -> None:
        with whole_folder(path, overwrite=True) as temporary:
            (temporary / "b.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert listing(tmp_path) == (["run"] if exists else [])
    assert not exists or listing(path) == ["a.txt"]
