"""Archives from sources that are not trusted."""

import io
import tarfile
from pathlib import Path

import pytest

from kseq.sagemaker.archives import unpack


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    found.size = 3 if kind == tarfile.REGTYPE else 0
    found.mode = 0o4777
    return found


def archive(folder: Path, *members: tarfile.TarInfo) -> Path:
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for each in members:
            opened.addfile(each, io.BytesIO(b"abc" if each.size else b""))
    return path


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    members = [
        member("./config.json"),
        member("assets", tarfile.DIRTYPE),
        member("assets/deep/model.keras"),
    ]
    out = tmp_path / "out"
    unpack(archive(tmp_path, *members), out)
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert files == {"config.json", "assets/deep/model.keras"}
    assert (out / "config.json").read_bytes() == b"abc"
    assert not (out / "config.json").stat().st_mode & 0o4000


@pytest.mark.parametrize(
    "bad",
    [
        member("/absolute"),
        member("../outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("inside", tarfile.SYMTYPE, "config.json"),
        member("hard", tarfile.LNKTYPE, "config.json"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member("..\\outside"),
    ],
    ids=lambda each: each.name,
)
def test_an_unsafe_member_is_refused_before_anything_is_written(
    tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    path = archive(tmp_path, member("config.json"), bad)
    with pytest.raises(ValueError, match="only regular files and folders"):
        unpack(path, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.tar.gz"]


def test_a_duplicate_name_is_an_error(tmp_path: Path) -> None:
    path = archive(tmp_path, member("config.json"), member("config.json"))
    with pytest.raises(FileExistsError):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "text", "flipped"])
def test_a_damaged_archive_raises_value_error(tmp_path: Path, damage: str) -> None:
    path = archive(tmp_path, member("config.json"))
    whole = path.read_bytes()
    broken = {
        "cut": whole[: len(whole) // 2],
        "text": b"not an archive",
        "flipped": whole[:30] + bytes(8) + whole[38:],
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
