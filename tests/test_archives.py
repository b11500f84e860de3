"""An archive is the same bytes wherever it is made, comes back whole or not at all, and lets nothing else in."""

from __future__ import annotations

import bz2
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import zipfile
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib import containers
from trainerlib.archives import archive_directory, read_manifest, restore_archive, write_archive
from trainerlib.containers import default_suffix
from trainerlib.errors import DatasetError, NotFoundError

KINDS = [".zip", pytest.param(".tar.zst", marks=pytest.mark.skipif(default_suffix() == ".zip", reason="no zstd here"))]
every_kind = pytest.mark.parametrize("kind", KINDS)

SHOP = {
    "train.jsonl": '{"вопрос":"когда вы открыты?","answer":"С 9 до 18."}\n'.encode() * 400,
    "данные/розы 🌹.txt": "Розы по 250 ₽\n".encode(),
    "данные/" + "очень-длинное-имя-" * 7 + ".txt": b"long",
    "a" * 100: b"exactly what fits a tar header",
    "b" * 101: b"one more",
    "empty": b"",
    "deep/" * 20 + "leaf": bytes(range(256)) * 5,
    "manifest.json": b"{}",
    "block": b"x" * 512,
}


def tree(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def files_below(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def python(code, *arguments, status=0, **options):
    """Run a program in another interpreter; what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120, **options
    )
    assert ended.returncode == status, ended.stderr
    return ended.stdout


# --- the same bytes --------------------------------------------------------------------------------------------------


@every_kind
def test_what_was_archived_comes_back(tmp_path, kind):
    """Long, Russian and emoji names, an empty file, a file called like the manifest."""
    report = write_archive(SHOP.items(), tmp_path / f"shop{kind}", facts={"магазин": "Цветы"})
    assert (report.files, report.bytes) == (len(SHOP), sum(map(len, SHOP.values())))
    assert report.sha256 == sha256((tmp_path / f"shop{kind}").read_bytes()).hexdigest()
    assert report.archive_bytes == (tmp_path / f"shop{kind}").stat().st_size
    restored = restore_archive(tmp_path / f"shop{kind}", tmp_path / "again")
    assert (restored.files, restored.bytes, restored.sha256) == (report.files, report.bytes, report.sha256)
    assert files_below(tmp_path / "again") == SHOP
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", f"shop{kind}"]


@every_kind
def test_the_manifest_tells_name_size_and_sha256_of_every_file(tmp_path, kind):
    write_archive(SHOP.items(), tmp_path / f"shop{kind}", facts={"магазин": "Цветы", "versions": [1, 2]})
    manifest = read_manifest(tmp_path / f"shop{kind}")
    assert manifest.facts == {"магазин": "Цветы", "versions": [1, 2]}
    assert [file.name for file in manifest.files] == sorted(SHOP)
    assert {file.name: (file.bytes, file.sha256) for file in manifest.files} == {
        name: (len(content), sha256(content).hexdigest()) for name, content in SHOP.items()
    }


ARCHIVE = """
import os, sys
from pathlib import Path
from trainerlib.archives import archive_directory
os.umask(0o077)
print(archive_directory(Path(sys.argv[1]), Path(sys.argv[2]), facts={"b": {"z": 1, "a": 2}, "a": "Цветы"}).sha256)
"""


@every_kind
def test_the_same_content_is_the_same_bytes_elsewhere(tmp_path, kind):
    """Another process, time zone, locale, umask, order, owner's permissions and times."""
    tree(tmp_path / "one", SHOP)
    tree(tmp_path / "other", dict(reversed(SHOP.items())))
    for number, path in enumerate((tmp_path / "other").rglob("*")):
        path.chmod(0o700 if number % 2 else 0o755)
        os.utime(path, (number * 1e8, number * 1e8))
    facts = {"a": "Цветы", "b": {"a": 2, "z": 1}}
    here = archive_directory(tmp_path / "one", tmp_path / f"here{kind}", facts=facts)
    environment = {**os.environ, "TZ": "Asia/Vladivostok", "LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "1"}
    there = python(ARCHIVE, tmp_path / "other", tmp_path / f"there{kind}", env=environment).strip()
    assert there == here.sha256
    assert (tmp_path / f"here{kind}").read_bytes() == (tmp_path / f"there{kind}").read_bytes()


@every_kind
def test_nothing_but_the_content_is_in_an_archive(tmp_path, kind):
    """Other programs read it, and find no time, owner or permission of this machine."""
    write_archive(SHOP.items(), tmp_path / f"shop{kind}")
    if kind == ".zip":
        with zipfile.ZipFile(tmp_path / "shop.zip") as archive:
            members = archive.infolist()
            content = {info.filename: archive.read(info) for info in members}
            assert {info.date_time for info in members} == {(1980, 1, 1, 0, 0, 0)}
            assert {(info.create_system, info.external_attr >> 16, info.extra) for info in members} == {
                (3, 0o100644, b"")
            }
    else:
        with tarfile.open(fileobj=io.BytesIO(unpacked(tmp_path / "shop.tar.zst"))) as archive:
            members = archive.getmembers()
            content = {member.name: archive.extractfile(member).read() for member in members}
            assert {(m.mode, m.uid, m.gid, m.mtime, m.uname, m.gname) for m in members} == {(0o644, 0, 0, 0, "", "")}
            assert all(member.isreg() for member in members)
    assert list(content) == ["manifest.json", *(f"files/{name}" for name in sorted(SHOP))]
    assert {name.removeprefix("files/"): data for name, data in content.items() if name != "manifest.json"} == SHOP


def test_tar_headers_are_the_same_in_every_python():
    """The form of a header must never change: a reader compares it."""
    names = ["a", "a" * 100, "b" * 101, "розы 🌹.txt", "x" * 92 + "я"]
    headers = b"".join(containers._tar_header(name, size) for name in names for size in (0, 5, 8**11 - 1, 8**11, 2**50))
    assert sha256(headers).hexdigest() == "5b7e694cba4a1828152d3b6dec240f697bcf17527b2425595b166925e607e5fc"
    for name in names:
        for size in (0, 8**11 - 1, 8**11, 2**50):
            header = containers._tar_header(name, size)
            with tarfile.open(fileobj=io.BytesIO(header + bytes(1024))) as archive:
                read = archive.next()
            assert (read.name, read.size, read.isreg()) == (name, size, True)


def names():
    letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:")
    part = st.text(letters, min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
    return st.lists(part, min_size=1, max_size=3).map("/".join)


def are_one_elsewhere(files):
    """Two files or directories have one name where case and composition of letters do not count."""
    directories = {parent.as_posix() for name in files for parent in Path(name).parents if parent.name}
    folded = {normalize("NFD", normalize("NFD", name).casefold()) for name in [*files, *directories]}
    return len(folded) < len(files) + len(directories)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(files=st.dictionaries(names(), st.binary(max_size=2_000), max_size=8))
def test_any_tree_of_files_comes_back_the_same(kind, files):
    """Unless two names are one on some system; and a directory gives the archive that its content gives."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        if are_one_elsewhere(files):
            with pytest.raises(DatasetError, match="are one name on some systems"):
                write_archive(files.items(), here / f"a{kind}")
            assert not list(here.iterdir())
            return
        written = write_archive(files.items(), here / f"a{kind}")
        restore_archive(here / f"a{kind}", here / "again")
        assert files_below(here / "again") == files
        assert archive_directory(here / "again", here / f"b{kind}", hidden=True).sha256 == written.sha256


# --- writing ---------------------------------------------------------------------------------------------------------


@every_kind
def test_the_same_archive_twice_is_written_once(tmp_path, kind):
    target = tmp_path / f"shop{kind}"
    first = write_archive(SHOP.items(), target, facts={"version": 1})
    os.utime(target, (1, 1))
    again = write_archive(reversed(SHOP.items()), target, facts={"version": 1})
    assert (first.new, again.new, again.sha256) == (True, False, first.sha256)
    assert target.stat().st_mtime == 1


@every_kind
def test_another_file_is_never_replaced(tmp_path, kind):
    """Other content, other facts, a foreign file, a damaged archive, a directory, a link to nowhere."""
    target = tmp_path / f"shop{kind}"
    write_archive(SHOP.items(), target)
    good = target.read_bytes()
    for files, facts in (({"train.jsonl": b"other"}, {}), (SHOP, {"version": 2})):
        with pytest.raises(DatasetError, match="is there already, holds something else, and is not replaced"):
            write_archive(files.items(), target, facts=facts)
        assert target.read_bytes() == good
    for other in (b"my diary", good[:-1], good[:200] + b"?" + good[201:]):
        target.write_bytes(other)
        with pytest.raises(DatasetError, match="a file is there already, and is not replaced: "):
            write_archive(SHOP.items(), target)
        assert target.read_bytes() == other
    target.unlink()
    for make in (target.mkdir, lambda: target.symlink_to(tmp_path / "nowhere")):
        make()
        with pytest.raises(DatasetError, match="is not replaced"):
            write_archive(SHOP.items(), target)
        target.unlink() if target.is_symlink() else target.rmdir()
    assert not list(tmp_path.iterdir())


@every_kind
@pytest.mark.parametrize("how", ["longer", "shorter", "other", "gone"])
def test_a_file_that_changes_meanwhile_is_an_error_and_leaves_no_archive(tmp_path, kind, how):
    """Changed when all was hashed and nothing packed."""
    changing = tmp_path / "log.jsonl"
    changing.write_bytes(b"x" * 5_000)

    def progress(done, total):
        if done == total // 2:
            if how == "gone":
                changing.unlink()
            else:
                changing.write_bytes({"longer": b"x" * 6_000, "shorter": b"x" * 4_000, "other": b"y" * 5_000}[how])

    with pytest.raises(DatasetError, match=r"log.jsonl: changed while it was being archived; nothing was written"):
        write_archive([("log.jsonl", changing), ("z", b"z" * 5_000)], tmp_path / f"a{kind}", progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ([] if how == "gone" else ["log.jsonl"])


@every_kind
def test_progress_goes_to_the_end(tmp_path, kind):
    told = []
    write_archive(SHOP.items(), tmp_path / f"a{kind}", progress=lambda *now: told.append(now))
    size = sum(map(len, SHOP.values()))
    assert told == sorted(told)
    assert told[-1] == (2 * size, 2 * size)
    told.clear()
    restore_archive(tmp_path / f"a{kind}", tmp_path / "again", progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1] == (size, size)


def test_what_is_no_plain_file_is_left_out_and_reported(tmp_path):
    """Hidden files, links, pipes, empty directories: each with its reason."""
    place = tree(
        tmp_path / "shop", {"a.txt": b"a", ".env": b"KEY=1", ".git/config": b"", "данные/.скрытый": b"", "x/b": b""}
    )
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "linked").symlink_to(place / "x", target_is_directory=True)
    (place / "loop").symlink_to(place, target_is_directory=True)
    (place / "files").mkdir()
    os.mkfifo(place / "pipe")
    report = archive_directory(place, tmp_path / "shop.zip")
    assert report.skipped == (
        (".env", "hidden"),
        (".git", "hidden"),
        ("files/", "empty directory"),
        ("link", "symbolic link"),
        ("linked", "symbolic link"),
        ("loop", "symbolic link"),
        ("pipe", "not a regular file"),
        ("данные/.скрытый", "hidden"),
    )
    assert [file.name for file in read_manifest(tmp_path / "shop.zip").files] == ["a.txt", "x/b"]
    everything = archive_directory(place, tmp_path / "all.zip", hidden=True)
    assert (everything.files, len(everything.skipped)) == (5, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_cannot_travel_are_left_out_and_reported(tmp_path):
    place = tree(tmp_path / "shop", {"a.txt": b"a", "b\\c": b"", "d\ne": b"", "C:f": b""})
    (place / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    assert archive_directory(place, tmp_path / "shop.zip").skipped == (
        ("C:f", "its name is absolute"),
        ("\\udcff\\udcfe", "its name is no Unicode"),
        ("b\\c", "its name has a backslash"),
        ("d\ne", "its name has a control character"),
    )


UNREADABLE = """
import os, sys
from pathlib import Path
from trainerlib.archives import archive_directory, write_archive
from trainerlib.errors import DatasetError
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)  # root can read everything
print(archive_directory(Path("shop"), Path("shop.zip")).skipped)
try:
    write_archive([("a", Path("shop/secret"))], Path("b.zip"))
except DatasetError as error:
    print(error)
"""


def test_what_cannot_be_read_is_left_out_of_a_directory_and_reported(tmp_path):
    """And an error where it was asked for by name."""
    place = tree(tmp_path / "shop", {"a.txt": b"a", "secret": b"s", "closed/b": b"b"})
    for path, mode in ((place / "secret", 0), (place / "closed", 0), (tmp_path, 0o777)):
        path.chmod(mode)
    said = python(UNREADABLE, tmp_path).splitlines()
    (place / "closed").chmod(0o700)
    assert said == [
        "(('closed/', 'cannot be read: Permission denied'), ('secret', 'cannot be read: Permission denied'))",
        "shop/secret: Permission denied",
    ]
    assert [file.name for file in read_manifest(tmp_path / "shop.zip").files] == ["a.txt"]


def test_a_missing_file_or_directory_is_not_found(tmp_path):
    for call in (
        lambda: write_archive([("a", tmp_path / "none")], tmp_path / "a.zip"),
        lambda: write_archive([], tmp_path / "none" / "a.zip"),
        lambda: archive_directory(tmp_path / "none", tmp_path / "a.zip"),
        lambda: read_manifest(tmp_path / "none.zip"),
        lambda: restore_archive(tmp_path / "none.zip", tmp_path / "a"),
    ):
        with pytest.raises(NotFoundError, match="none"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_directory_or_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DatasetError, match="not a regular file"):
            write_archive([("a", source)], tmp_path / "a.zip")


def test_an_archive_in_the_directory_it_holds_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(DatasetError, match="is in the directory that it would hold"):
        archive_directory(tmp_path, tmp_path / "a.zip")


def test_the_suffix_must_be_one_of_an_archive(tmp_path):
    with pytest.raises(DatasetError, match=r"a.tar.gz: the name of an archive ends with .tar.zst or .zip"):
        write_archive([], tmp_path / "a.tar.gz")


def test_without_a_zstd_library_zip_is_the_default_and_the_error_says_what_to_install(tmp_path, monkeypatch):
    for name in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert default_suffix() == ".zip"
    with pytest.raises(DatasetError, match=r"pip install 'trainerlib\[archive\]'"):
        write_archive([], tmp_path / "a.tar.zst")
    (tmp_path / "b.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(DatasetError, match=r"pip install 'trainerlib\[archive\]'"):
        restore_archive(tmp_path / "b.tar.zst", tmp_path / "b")


# --- names -----------------------------------------------------------------------------------------------------------

BAD_NAMES = {
    "/etc/passwd": "is absolute",
    "C:/keys": "is absolute",
    "c:keys": "is absolute",
    "../keys": "leaves the directory",
    "a/../../keys": "leaves the directory",
    "..": "leaves the directory",
    "a\\..\\..\\keys": "has a backslash",
    "\\\\server\\keys": "has a backslash",
    "": "has an empty part",
    ".": "has an empty part",
    "a/./b": "has an empty part",
    "a//b": "has an empty part",
    "a/": "has an empty part",
    "a\x00b": "has a control character",
    "a\x1b[2Jb": "has a control character",
    "я" * 128: "is too long",
    "a/" * 2_000 + "a": "is too long",
}
ONE_NAME = [
    ("a", "a"),
    ("README", "readme"),
    ("Отчёт", "отчёт"),
    (normalize("NFC", "Отчёт"), normalize("NFD", "Отчёт")),
    ("straße", "STRASSE"),
    ("a", "a/b"),
    ("A", "a/b"),
    ("Data/a", "data/b"),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_plain_relative_path_is_refused(tmp_path, name):
    """When it is written, and when somebody else wrote it."""
    reason = BAD_NAMES[name]
    with pytest.raises(DatasetError, match=f"refused: the name .* {reason}"):
        write_archive([(name, b"x")], tmp_path / "a.zip")
    refused(forged(tmp_path, ".zip", {"a": b"a", name: b"x"}, members={}), f"refused: the name .* {reason}")


@pytest.mark.parametrize("pair", ONE_NAME)
def test_two_names_that_are_one_on_some_system_are_refused(tmp_path, pair):
    with pytest.raises(DatasetError, match=r"refused: .* are one name on some systems"):
        write_archive([(name, b"x") for name in pair], tmp_path / "a.zip")
    files = [(name, b"x") for name in sorted(pair)]
    refused(forged(tmp_path, ".zip", files, members={}), "refused: .* are one name on some systems")


@pytest.mark.parametrize("name", ["con", "NUL.txt", "a/aux", "com1.log", "it:s", "what?", "end.", "end ", "<a>"])
def test_windows_takes_no_names_that_mean_something_else_there(name):
    from trainerlib.archives import _fault

    assert _fault(name, windows=True) == "cannot be on Windows"
    assert _fault(name, windows=False) == ""
    assert _fault("console/null.txt", windows=True) == ""


# --- what others wrote -----------------------------------------------------------------------------------------------


def packed(data):
    compressor = containers._zstd()[0]()
    return compressor.compress(data) + compressor.flush()


def unpacked(path):
    return containers._zstd()[1]().decompress(path.read_bytes())


def listed(files, **fields):
    """A manifest of files."""
    entries = [{"name": name, "bytes": len(content), "sha256": sha256(content).hexdigest()} for name, content in files]
    return json.dumps({"files": entries, "facts": {}, "version": 1} | fields).encode()


def forged(place, kind, files, *, members=None, manifest=None):
    """An archive written by hand.

    Args:
        files: what the manifest lists.
        members: what is in the archive; by default the same.
        manifest: the manifest itself.
    """
    files = list(files.items()) if isinstance(files, dict) else files
    manifest = listed(files) if manifest is None else manifest
    members = files if members is None else list(members.items())
    path = place / f"forged{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", manifest)
            for name, content in members:
                archive.writestr(f"files/{name}", content)
    else:
        written = io.BytesIO()
        for name, content in [("manifest.json", manifest), *((f"files/{name}", content) for name, content in members)]:
            written.write(containers._tar_header(name, len(content)) + content + bytes(-len(content) % 512))
        path.write_bytes(packed(written.getvalue() + bytes(1024)))
    return path


def refused(archive, reason):
    """It is refused for this reason, and nothing is left of it."""
    before = sorted(archive.parent.iterdir())
    with pytest.raises(DatasetError, match=reason):
        restore_archive(archive, archive.parent / "restored")
    assert sorted(archive.parent.iterdir()) == before


TWO = {"a.txt": b"Roses", "b.txt": "Розы".encode()}


@every_kind
def test_a_forged_archive_that_is_as_ours_is_restored(tmp_path, kind):
    """So that what the next tests change is what is refused."""
    restore_archive(forged(tmp_path, kind, TWO), tmp_path / "restored")
    assert files_below(tmp_path / "restored") == TWO


@every_kind
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"a.txt": b"Roses"},
        {"b.txt": "Розы".encode(), "a.txt": b"Roses"},
        TWO | {"c.txt": b"not announced"},
        TWO | {"b.txt": "розы".encode()},
        TWO | {"b.txt": b""},
        TWO | {"b.txt": bytes(50_000_000)},
        {"a.txt": b"Roses", "../b.txt": "Розы".encode()},
        {"a.txt": b"Roses", "/etc/b.txt": "Розы".encode()},
    ],
    ids=["none", "one less", "other order", "one more", "other", "empty", "bomb", "leaving", "absolute"],
)
def test_an_archive_that_does_not_hold_what_its_manifest_says_is_refused(tmp_path, kind, members):
    refused(forged(tmp_path, kind, TWO, members=members), "forged")


@every_kind
@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files":[{"name":"a"}]}',
        b'{"files":[{"name":"a","bytes":-1,"sha256":"' + b"0" * 64 + b'"}]}',
        b'{"files":[{"name":"a","bytes":1,"sha256":"no"}]}',
        b'{"files":[{"name":"\\ud800","bytes":1,"sha256":"' + b"0" * 64 + b'"}]}',
        b'{"files":[{"name":"\xff","bytes":1,"sha256":"' + b"0" * 64 + b'"}]}',
        b'{"files":[],"facts":' + b"[" * 100_000,
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, kind, manifest):
    archive = forged(tmp_path, kind, {}, manifest=manifest)
    refused(archive, "its manifest does not read")
    with pytest.raises(DatasetError, match="its manifest does not read"):
        read_manifest(archive)


@every_kind
def test_what_a_newer_trainerlib_wrote_is_refused(tmp_path, kind):
    refused(forged(tmp_path, kind, TWO, manifest=listed(TWO.items(), version=2)), "upgrade trainerlib")


@every_kind
def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path, kind):
    entry = {"name": "a", "bytes": 2**60, "sha256": "0" * 64}
    refused(
        forged(tmp_path, kind, {}, manifest=json.dumps({"files": [entry]}).encode()),
        "needs 1,152,921,504,606,846,976 b",
    )


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize(
    "change",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "files/a.txt"},
        {"type": tarfile.CHRTYPE, "devmajor": 1},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"mode": 0o4755},
        {"uid": 1000},
        {"mtime": 1},
        {"name": "files/../b.txt"},
        {"name": "/b.txt"},
    ],
    ids=str,
)
def test_a_tar_member_that_is_no_plain_file_is_refused(tmp_path, kind, change):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in {
            "manifest.json": listed(TWO.items()),
            "files/a.txt": b"Roses",
            "files/b.txt": TWO["b.txt"],
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name == "files/b.txt":
                for field, value in change.items():
                    setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    path = tmp_path / f"forged{kind}"
    path.write_bytes(packed(written.getvalue()))
    refused(path, "what should be files/b.txt is something else than a plain file of its size")


@pytest.mark.parametrize(
    "change",
    [
        {"external_attr": 0o120777 << 16},
        {"external_attr": 0o040755 << 16},
        {"external_attr": 0o020644 << 16},
        {"compress_type": zipfile.ZIP_BZIP2},
        {"compress_type": zipfile.ZIP_LZMA},
        {"compress_type": zipfile.ZIP_STORED},
        {"filename": "files/B.TXT"},
        {"filename": "files/b.txt/"},
    ],
    ids=str,
)
def test_a_zip_member_that_is_no_plain_file_is_refused(tmp_path, change):
    """bzip2 and LZMA too: `zipfile` unpacks them without a bound."""
    with zipfile.ZipFile(tmp_path / "forged.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", listed(TWO.items()))
        archive.writestr("files/a.txt", b"Roses")
        info = zipfile.ZipInfo("files/b.txt")
        info.compress_type = zipfile.ZIP_DEFLATED
        for field, value in change.items():
            setattr(info, field, value)
        archive.writestr(info, TWO["b.txt"])
    refused(tmp_path / "forged.zip", "what should be files/b.txt is something else than a plain file of its size")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = forged(tmp_path, ".zip", TWO)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(signature) + offset] |= 1
    path.write_bytes(data)
    refused(path, "files/b.txt is something else")


def test_what_stands_before_or_after_a_zip_is_refused(tmp_path):
    path = forged(tmp_path, ".zip", TWO)
    good = path.read_bytes()
    for other in (b"PK\x03\x04" + good, good + b"?", good + good, good[:-2] + b"\x03\x00end"):
        path.write_bytes(other)
        refused(path, "forged.zip")


def test_the_end_of_an_archive_in_an_archive_is_not_taken_for_its_end(tmp_path):
    """Cut short there, the file is a good zip of the inner files to most programs."""
    inner = tmp_path / "inner.zip"
    write_archive({"x": os.urandom(100_000)}.items(), inner)
    outer = tmp_path / "outer.zip"
    write_archive([("inner.zip", inner), ("z", b"z")], outer)
    data = outer.read_bytes()
    end = data.index(inner.read_bytes()[-22:]) + 22
    outer.write_bytes(data[:end])
    assert zipfile.ZipFile(outer).namelist() == ["manifest.json", "files/x"]
    refused(outer, "not an archive that trainerlib wrote")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_stands_after_a_tar_is_refused(tmp_path, kind):
    path = forged(tmp_path, kind, TWO)
    good = path.read_bytes()
    for other in (
        good + b"?",
        good + packed(b"more"),
        packed(unpacked(path) + b"?"),
        packed(unpacked(path) + bytes(9_000)),
    ):
        path.write_bytes(other)
        refused(path, "not an archive that trainerlib wrote")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"# diary\n" * 100, bz2.compress(b"x"), b"PK\x05\x06" + bytes(18)],
)
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "forged").write_bytes(content)
    refused(tmp_path / "forged", "not an archive that trainerlib wrote|cut short|needs a package")


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "forged.zip", "w") as archive:
        archive.writestr("readme.txt", b"hello")
        archive.writestr("manifest.json", listed(TWO.items()))
    refused(tmp_path / "forged.zip", "not an archive that trainerlib wrote")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_tar_of_something_else_is_refused(tmp_path, kind):
    path = tmp_path / f"forged{kind}"
    path.write_bytes(packed(containers._tar_header("readme.txt", 2) + bytes(2_000)))
    refused(path, "not an archive that trainerlib wrote")
    path.write_bytes(packed(containers._tar_header("manifest.json", 2**40) + bytes(2_000)))
    refused(path, "not an archive that trainerlib wrote")
    path.write_bytes(packed(b"?" * 2_000))
    refused(path, "not an archive that trainerlib wrote")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_bomb_needs_little_memory(tmp_path, kind):
    """Thirty kilobytes that stand for a gigabyte, announced and not."""
    compressor = containers._zstd()[0]()
    entry = {"name": "a", "bytes": 10**9, "sha256": "0" * 64}
    manifest = json.dumps({"files": [entry]}).encode()
    start = containers._tar_header("manifest.json", len(manifest)) + manifest + bytes(-len(manifest) % 512)
    path = tmp_path / f"forged{kind}"
    with path.open("wb") as file:
        file.write(compressor.compress(start))
        for _ in range(1_000):
            file.write(compressor.compress(bytes(1_000_000)))
        file.write(compressor.flush())
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    refused(path, "what should be files/a is something else")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


# --- damage ----------------------------------------------------------------------------------------------------------


@every_kind
def test_an_archive_that_was_cut_short_anywhere_is_refused(tmp_path, kind):
    path = tmp_path / f"forged{kind}"
    write_archive(SHOP.items(), path)
    good = path.read_bytes()
    for size in {*(len(good) * tenth // 10 for tenth in range(10)), len(good) - 1, len(good) - 4, len(good) - 22}:
        path.write_bytes(good[:size])
        refused(path, "cut short|not an archive|something else")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_comes_back_the_same(kind, data):
    """Any few bytes changed: one clear error, or, where they mean nothing, the same files."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"forged{kind}"
        write_archive(list(SHOP.items())[1:], path)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            restore_archive(path, Path(place) / "restored")
        except DatasetError:
            assert [left.name for left in Path(place).iterdir()] == [path.name]
        else:
            assert files_below(Path(place) / "restored") == dict(list(SHOP.items())[1:])


# --- restoring -------------------------------------------------------------------------------------------------------


def test_an_empty_directory_is_restored_to_and_any_other_is_refused(tmp_path, monkeypatch):
    archive = tmp_path / "a.zip"
    write_archive(TWO.items(), archive)
    (tmp_path / "empty").mkdir()
    restore_archive(archive, tmp_path / "empty")
    assert files_below(tmp_path / "empty") == TWO
    with pytest.raises(DatasetError, match="empty is not empty; restore into a new directory"):
        restore_archive(archive, tmp_path / "empty")
    with pytest.raises(DatasetError, match=r"a.zip is a file; restore into a new directory"):
        restore_archive(archive, archive)
    with pytest.raises(NotFoundError, match="none: no such directory"):
        restore_archive(archive, tmp_path / "none" / "a")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DatasetError, match="is in use and cannot be replaced"):
        restore_archive(archive, Path())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "empty", "here"]


def test_a_link_to_an_empty_directory_stays_a_link(tmp_path):
    write_archive(TWO.items(), tmp_path / "a.zip")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    restore_archive(tmp_path / "a.zip", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert files_below(tmp_path / "real") == TWO


# --- large files, full disks and killed processes ----------------------------------------------------------------------

LARGE = """
import resource, sys
from pathlib import Path
from trainerlib.archives import restore_archive, write_archive

source, archive, place = map(Path, sys.argv[1:])
write_archive([("small", b"x")], archive.with_name(f"small{archive.name}"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_archive([("large", source)], archive)
restore_archive(archive, place)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown // (1 << 20 if sys.platform == "darwin" else 1 << 10))
"""


@every_kind
def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path, kind):
    """A file of 120 MB, most of it holes, in a process of its own."""
    with (tmp_path / "large").open("wb") as file:
        for number in range(12):
            file.seek(number * 10_000_000)
            file.write(os.urandom(100_000))
        file.truncate(120_000_000)
    assert int(python(LARGE, tmp_path / "large", tmp_path / f"a{kind}", tmp_path / "again")) < 60
    assert (tmp_path / "again" / "large").stat().st_size == 120_000_000


FULL = """
import resource, sys
from pathlib import Path
from trainerlib.archives import restore_archive, write_archive
from trainerlib.errors import DatasetError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    {call}
except DatasetError as error:
    print(error)
"""


@every_kind
def test_a_full_disk_leaves_nothing(tmp_path, kind):
    """As a full disk: no file may grow over 100 kB."""
    (tmp_path / "a").write_bytes(os.urandom(300_000))
    call = "write_archive([('a', Path(sys.argv[1]))], Path(sys.argv[2]))"
    said = python(FULL.format(call=call), tmp_path / "a", tmp_path / f"a{kind}")
    assert said == f"{tmp_path / f'a{kind}'}: not written: File too large\n"
    write_archive([("a", tmp_path / "a")], tmp_path / f"a{kind}")
    call = "restore_archive(Path(sys.argv[1]), Path(sys.argv[2]))"
    said = python(FULL.format(call=call), tmp_path / f"a{kind}", tmp_path / "again")
    assert said == f"{tmp_path / 'again'}: not restored: File too large\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", f"a{kind}"]


HALF_WAY = """
import sys
from pathlib import Path
from trainerlib.archives import archive_directory, restore_archive

def progress(done, total):
    if done > total * 0.8:
        print("half way", flush=True)
        sys.stdin.readline()

{call}(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
"""


@every_kind
def test_a_killed_process_leaves_no_archive_and_no_directory(tmp_path, kind):
    """SIGKILL half way through writing, then through restoring; the next run does it."""
    place = tree(tmp_path / "shop", {f"{number}.bin": os.urandom(3_000_000) for number in range(3)})
    for call, source, target in (
        ("archive_directory", place, tmp_path / f"a{kind}"),
        ("restore_archive", tmp_path / f"a{kind}", tmp_path / "again"),
    ):
        command = [sys.executable, "-c", HALF_WAY.format(call=call), str(source), str(target)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"half way\n"
            process.kill()
        assert not target.exists()
        {"archive_directory": archive_directory, "restore_archive": restore_archive}[call](source, target)
    assert files_below(tmp_path / "again") == files_below(place)
