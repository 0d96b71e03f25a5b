"""Files and folders appear complete or not at all."""

import os
import re
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from kseq.storage.atomic_files import has_content, make_folder, whole_file, whole_folder

LONG = "x" * 249


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_file(path: str | os.PathLike[str], text: str = "new") -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text)


def write_folder(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    with whole_folder(path, overwrite) as temporary:
        (temporary / "b.txt").write_text("new")


def older_folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "a.txt").write_text("old")
    (path / "sub" / "a.txt").write_text("old")
    return path


def assert_older(path: Path) -> None:
    assert listing(path) == ["a.txt", "sub"]
    assert (path / "a.txt").read_text() == "old"
    assert listing(path / "sub") == ["a.txt"]


def test_a_complete_file_appears(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["a.txt"]


def test_a_file_replaces_an_older_one_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    with whole_file(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


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


def test_a_complete_folder_appears(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "run"
    with whole_folder(path) as temporary:
        (temporary / "a.txt").write_text("new")
        assert not path.exists()
    assert listing(path) == ["a.txt"]
    assert listing(path.parent) == ["run"]


def test_a_folder_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = older_folder(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"run' exists already.*overwrite=True"):
        write_folder(path)
    assert listing(tmp_path) == ["run"]
    assert_older(path)


def test_replacing_a_folder_removes_its_old_content(tmp_path: Path) -> None:
    path = older_folder(tmp_path / "run")
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "b.txt").write_text("new")
        assert (path / "a.txt").exists()
    assert listing(path) == ["b.txt"]
    assert listing(tmp_path) == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_filled(tmp_path: Path, overwrite: bool) -> None:
    left = f".kseq.{'0' * 32}"  # by a program that was killed
    (tmp_path / "run" / left).mkdir(parents=True)
    assert not has_content(tmp_path / "run")
    write_folder(tmp_path / "run", overwrite)
    assert listing(tmp_path / "run") == ["b.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path, overwrite: bool) -> None:
    path = tmp_path / "run"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="run' "):
        write_folder(path, overwrite)
    assert path.read_text() == "old"


def test_a_folder_without_the_marker_is_not_replaced(tmp_path: Path) -> None:
    path = older_folder(tmp_path / "thesis")
    with (
        pytest.raises(FileExistsError, match=r"thesis' lacks 'index\.json'"),
        whole_folder(path, overwrite=True, marker="index.json"),
    ):
        pytest.fail("not reached")
    assert_older(path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_leaves_the_older_folder_and_nothing_else(
    tmp_path: Path, exists: bool
) -> None:
    path = tmp_path / "parent" / "run"
    if exists:
        older_folder(path)

    def fail() -> None:
        with whole_folder(path, overwrite=True) as temporary:
            (temporary / "b.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    if exists:
        assert_older(path)
    else:
        assert listing(tmp_path) == []


@pytest.mark.parametrize("renames", range(1, 5))
def test_a_failed_replacement_of_a_folder_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    path = older_folder(tmp_path / "run")
    rename, count = os.rename, 0

    def fail(*names: Any) -> None:
        nonlocal count
        count += 1
        if count == renames:
            raise PermissionError("busy")
        rename(*names)

    monkeypatch.setattr(os, "rename", fail)
    if renames == 4:  # two old entries and a new one
        write_folder(path, overwrite=True)
        assert listing(path) == ["b.txt"]
        return
    with pytest.raises(PermissionError, match="busy"):
        write_folder(path, overwrite=True)
    assert_older(path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_a_file_remains_and_its_target_is_written(
    tmp_path: Path, exists: bool
) -> None:
    link, target = tmp_path / "link.txt", tmp_path / "elsewhere" / "a.txt"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to(os.path.join("elsewhere", "a.txt"))
    write_file(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert (listing(tmp_path), listing(target.parent)) == (
        ["elsewhere", "link.txt"],
        ["a.txt"],
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_a_folder_remains_and_its_target_is_written(
    tmp_path: Path, exists: bool
) -> None:
    if exists:
        older_folder(tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    write_folder(tmp_path / "current", overwrite=exists)
    assert (tmp_path / "current").is_symlink()
    assert listing(tmp_path / "v1") == ["b.txt"]
    assert listing(tmp_path) == ["current", "v1"]


@pytest.mark.parametrize("write", [write_file, write_folder, make_folder])
def test_links_in_a_circle_are_an_error_that_names_the_path(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"levels of symbolic links.*'.*/a'"):
        write(tmp_path / "a")
    assert listing(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("name", [".", "..", "", "../run/.", "../run/"])
def test_the_current_folder_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = older_folder(tmp_path / "run")
    monkeypatch.chdir(path / "sub" if name == ".." else path)
    if not name:
        with pytest.raises(FileNotFoundError):
            write_folder(name, overwrite=True)
        assert_older(path)
        return
    write_folder(name, overwrite=True)
    assert listing(path) == ["b.txt"]
    assert listing(tmp_path) == ["run"]
    if name != "..":
        assert os.listdir() == ["b.txt"]  # the folder itself is still the same


def test_changing_the_folder_while_writing_changes_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with whole_file("a.txt") as file, whole_folder("run") as folder:
        os.chdir("other")
        file.write_text("new")
        (folder / "b.txt").write_text("new")
    assert listing(tmp_path) == ["a.txt", "other", "run"]


@pytest.mark.parametrize(
    "name",
    [
        LONG + ".keras",
        "y" + "." + "x" * 253,
        "é" * 124 + ".keras",
        "a\nb.keras",
        "\udcff.keras",
        " .keras",
    ],
)
def test_every_valid_file_name_can_be_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.name.endswith(".keras") == name.endswith(".keras")
    write_file(path, "newer")
    assert path.read_text() == "newer"
    path.unlink()
    write_folder(path)
    write_folder(path, overwrite=True)
    assert listing(path) == ["b.txt"]
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_path_that_cannot_be_written_is_named_before_any_work(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / "file").write_text("old")
    for path in (
        tmp_path / "file" / "a",
        Path("/proc/1/a/b"),
        tmp_path / "x" / ("y" * 300),
    ):
        with pytest.raises(OSError, match=re.escape(repr(str(path)))) as error:
            write(path)
        assert error.value.filename == str(path)
    assert listing(tmp_path) == ["file"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    path = older_folder(tmp_path / "run.txt")
    with pytest.raises(IsADirectoryError, match=r"run\.txt' is a folder"):
        write_file(path)
    assert_older(path)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(tmp_path / name)
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert listing(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_parents_are_created_and_removed_after_a_failure(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    (tmp_path / "there").mkdir()

    def fail() -> None:
        with whole(tmp_path / "there" / "a" / "b" / "c.txt"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert listing(tmp_path / "there") == []
    write_file(tmp_path / "there" / "a" / "b" / "c.txt")
    assert listing(tmp_path / "there" / "a" / "b") == ["c.txt"]


def test_a_folder_is_created_at_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("v1/run")
    make_folder(tmp_path / "current")
    make_folder(tmp_path / "current")
    assert listing(tmp_path / "v1") == ["run"]
