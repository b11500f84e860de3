"""What somebody types in a chat stays in the workspace, what is private stays there, and what people send is kept whole."""

from __future__ import annotations

import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots import places
from bots.places import Incoming, directory, inside, keep, open_servable, servable, tidy, upload_name
from trainerlib.errors import DiskFullError, PathRefusedError, StoreError, UploadRefusedError

NOVEMBER = datetime(2026, 11, 14, tzinfo=UTC)

links = pytest.mark.skipif(sys.platform == "win32", reason="there links are for administrators")


@pytest.fixture
def shop(tmp_path):
    """A workspace with something in it, and something beside it that is nobody's business."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "passport.txt").write_text("4509 123456", encoding="utf-8")
    workspace = tmp_path / "shop"
    (workspace / "files" / "2026-11").mkdir(parents=True)
    (workspace / "datasets" / "нужды" / "v1").mkdir(parents=True)
    (workspace / "files" / "prices.txt").write_text("Роза: 150", encoding="utf-8")
    (workspace / "datasets" / "нужды" / "v1" / "train.jsonl").write_text("{}\n", encoding="utf-8")
    (workspace / "instruction.md").write_text("Отвечай коротко.", encoding="utf-8")
    for name in ("trainer.db", "trainer.db-wal", "inbox.db", "workspace.toml", ".env", "erasures.jsonl"):
        (workspace / name).write_bytes(b"private")
    return workspace


def refused(function, *arguments, **options):
    """What is said when a path or a file is refused."""
    with pytest.raises((PathRefusedError, UploadRefusedError)) as refusal:
        function(*arguments, **options)
    return str(refusal.value)


# --- paths ------------------------------------------------------------------------------------------------------------

PROCESS = "/proc/self/root"
"""The whole disk, as Linux shows it below a process."""

ESCAPES = [
    "..",
    "../beside/passport.txt",
    "files/../../beside/passport.txt",
    "files/..",
    "files/../prices.txt",
    "./../beside",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    PROCESS,
    f"{PROCESS}/etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "~",
    "~/.ssh/id_rsa",
    "~root/.bashrc",
    "files/~",
    "WORKSP~1.TOM",
    "C:",
    "C:/Windows/win.ini",
    "C:Windows",
    "c:\\Windows\\win.ini",
    "\\\\server\\share\\a.txt",
    "\\\\?\\C:\\a.txt",
    "files\\..\\..\\beside\\passport.txt",
    "..\\beside",
    "files/prices.txt::$DATA",
    "files/prices.txt:hidden",
    "file:///etc/passwd",
    "files/prices.txt\0.png",
    "files/pri\nces.txt",
    "files/prices.txt\r",
    "\x1b[2Jfiles",
    "files/\x7f",
    "\u202etxt.secirp/selif",
    "files/pri\u200bces.txt",
    "files/\u2066prices.txt",
    "files/\ufeffprices.txt",
    "files/pri\u00adces.txt",
    "\uff0e\uff0e/beside/passport.txt",
    "files/\uff0e\uff0e/\uff0e\uff0e/beside",
    ".\uff0e/beside",
    "\u2024\u2024/beside",
    "\u2025/beside/passport.txt",
    "files/\u2026",
    "\ufe52\ufe52/beside",
    "..\uff0fbeside\uff0fpassport.txt",
    "..\u2215beside\u2215passport.txt",
    "..\u2044beside",
    "..\u29f8beside",
    "\uff0fetc\uff0fpasswd",
    "..\uff3cbeside",
    "..\ufe68beside",
    "..\u2216beside",
    "files/prices.txt\uff1ahidden",
    "\uff5e/.ssh",
    ".\u0338./beside",
    "..\u0301/beside",
    "files/\u0301prices.txt",
    "files/отчёи\u0306.txt",
    "files/\u3164",
    "files/pri\ufe0fces.txt",
    "files/\u00a0prices.txt",
    "files/\u2028prices.txt",
    "files/\ud800",
    "files/\ue000",
    "files/...",
    "files/.. ",
    "files/. .",
    "files/.",
    ".",
    "./files",
    "files//prices.txt",
    "files/prices.txt/",
    "files/prices.txt.",
    "files/prices.txt ",
    " files/prices.txt",
    "con",
    "NUL",
    "files/nul.txt",
    "files/COM1",
    "files/com\u00b9.log",
    "files/lpt9.txt",
    "files/CONIN$",
    "files/aux .txt",
    "",
    " ",
    "\t",
    "a" * 256,
    "ж" * 128,
    "a/" * 600 + "a",
    "files/" * 10_000,
]


@pytest.mark.parametrize("given", ESCAPES)
def test_a_path_that_leaves_the_workspace_or_is_odd_is_refused(shop, given):
    for judge in (inside, servable, open_servable):
        said = refused(judge, shop, given)
        assert str(shop.parent) not in said
        assert said.endswith(".")
    # A slash may end a directory, and a place where there is none is refused for that.
    assert refused(directory, shop, given).endswith(".")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("files/prices.txt", "files/prices.txt"),
        ("instruction.md", "instruction.md"),
        ("datasets/нужды/v1/train.jsonl", "datasets/нужды/v1/train.jsonl"),
        ("files/..prices", "files/..prices"),
        ("files/a..b", "files/a..b"),
        ("files/Цены (май), «розы» № 2.txt", "files/Цены (май), «розы» № 2.txt"),
        ("files/मूल्य.txt", "files/मूल्य.txt"),
        ("files/値段🌷.txt", "files/値段🌷.txt"),
        ("files/console.txt", "files/console.txt"),
        ("files/%2e%2e/a", "files/%2e%2e/a"),
        ("files/$HOME", "files/$HOME"),
        ("nothing/there", "nothing/there"),
    ],
)
def test_a_plain_path_is_taken_as_it_is(shop, given, expected):
    assert inside(shop, given) == Path(os.path.realpath(shop)) / expected


CHARACTERS = st.sampled_from(
    "./\\~:ab Жи\u0306\u0301\u0338\0\n\u202e\u200b\uff0e\uff0f\u2215\u2044\u29f8\u2024\u2025\u2026\ufe52\ufe68\u3164"
)


@given(st.text(CHARACTERS) | st.text() | st.lists(st.sampled_from(["..", ".", "", "files", "out", "in"])).map("/".join))
@example("out/passport.txt")
def test_whatever_is_typed_the_place_is_in_the_workspace_or_it_is_refused(typed):
    with TemporaryDirectory() as name:
        root = Path(os.path.realpath(name))
        workspace = root / "shop"
        (workspace / "files").mkdir(parents=True)
        (root / "passport.txt").touch()
        if sys.platform != "win32":
            (workspace / "out").symlink_to(root)
            (workspace / "in").symlink_to("files")
        try:
            found = inside(workspace, typed)
        except PathRefusedError:
            return
        assert found != workspace
        assert found.is_relative_to(workspace)
        assert Path(os.path.realpath(found)) == found
        # It means the same to a system that normalises names or ignores case.
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert ".." not in normalize(form, typed).casefold().split("/")


@links
@pytest.mark.parametrize(
    "given", ["out", "out/passport.txt", "files/up/beside/passport.txt", "file.txt", "chain", "root/etc"]
)
def test_a_link_that_leads_out_is_refused(shop, given):
    (shop / "out").symlink_to(shop.parent / "beside")
    (shop / "files" / "up").symlink_to("../..")
    (shop / "file.txt").symlink_to("../beside/passport.txt")
    (shop / "chain").symlink_to("out")
    (shop / "root").symlink_to("/proc/self/root")
    for judge in (inside, servable, open_servable, directory):
        assert refused(judge, shop, given) == "The path leaves the workspace."


@links
@pytest.mark.parametrize("given", ["here", "up/shop", "loop", "loop/a", "a/b", "nowhere"])
def test_a_link_to_the_workspace_itself_in_a_circle_or_to_nothing_is_no_file(shop, given):
    (shop / "here").symlink_to(shop)
    (shop / "up").symlink_to("..")
    (shop / "loop").symlink_to("loop")
    (shop / "a").symlink_to("c")
    (shop / "c").symlink_to("a")
    (shop / "nowhere").symlink_to("files/missing")
    for judge in (servable, open_servable, directory):
        refused(judge, shop, given)


@links
def test_a_link_that_stays_inside_leads_where_it_leads(shop):
    (shop / "latest").symlink_to("datasets/нужды/v1")
    assert servable(shop, "latest/train.jsonl") == directory(shop, "datasets/нужды/v1") / "train.jsonl"
    assert directory(shop, "latest") == directory(shop, "datasets/нужды/v1/")


@links
def test_the_workspace_itself_may_be_reached_through_a_link(shop):
    (shop.parent / "current").symlink_to(shop)
    with open_servable(shop.parent / "current", "files/prices.txt") as file:
        assert file.read().decode() == "Роза: 150"


# --- what is given out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "trainer.db",
        "trainer.db-wal",
        "TRAINER.DB",
        "Trainer.Db-Wal",
        "trainer.db-shm",
        "trainer.db-journal",
        "trainer.db.bak",
        "inbox.db",
        "inbox.db-wal",
        "files/copy.sqlite3",
        "workspace.toml",
        "WorkSpace.TOML",
        "work\u017fpace.toml",
        "erasures.jsonl",
        ".env",
        ".ENV",
        "prod.env",
        ".gitignore",
        ".git/config",
        "files/.git/HEAD",
        "files/.adding/a.txt",
        ".ssh/id_rsa",
        "server.pem",
        "files/SERVER.PEM",
        "server.key",
        "files/server.key.txt",
        "id_rsa",
        "id_rsa.pub",
        "id_ed25519",
        "google-credentials.json",
        "files/AWS_Credentials",
        "client_secret.json",
        "passwords.txt",
        "bot_token.txt",
        "cert.pfx",
    ],
)
def test_what_is_private_by_its_name_is_not_given_out(shop, given):
    (shop / given).parent.mkdir(parents=True, exist_ok=True)
    (shop / given).write_bytes(b"private")
    assert refused(servable, shop, given) == refused(open_servable, shop, given) == "That is not given out."
    (shop / given).unlink()
    assert refused(servable, shop, given) == "That is not given out."


@pytest.mark.parametrize("given", [".git", "files/.git", ".ssh/keys", "credentials"])
def test_what_is_private_is_no_directory_to_work_on(shop, given):
    (shop / given).mkdir(parents=True)
    assert refused(directory, shop, given) == "That is not given out."


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "secretary.txt", "passport.pdf", "keys.md", "monkey.txt", "dbs.txt"]
)
def test_names_that_only_begin_like_private_ones_are_given_out(shop, name):
    (shop / name).write_bytes(b"public")
    with open_servable(shop, name) as file:
        assert file.read() == b"public"


@links
@pytest.mark.parametrize("private", ["trainer.db", ".env", "workspace.toml"])
def test_another_name_for_a_private_file_is_private(shop, private):
    (shop / "files" / "a.txt").symlink_to(shop / private)
    os.link(shop / private, shop / "files" / "b.txt")
    for name in ("files/a.txt", "files/b.txt"):
        assert refused(open_servable, shop, name) == "That is not given out."


@links
def test_a_file_with_a_second_name_is_given_out(shop):
    os.link(shop / "files" / "prices.txt", shop / "files" / "again.txt")
    with open_servable(shop, "files/again.txt") as file:
        assert file.read().decode() == "Роза: 150"


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\0" + bytes(100),
        b"-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        b"comment\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
        b"PuTTY-User-Key-File-3: ssh-ed25519",
    ],
)
def test_a_database_or_a_key_by_another_name_is_private(shop, content):
    (shop / "files" / "notes.txt").write_bytes(content)
    assert refused(open_servable, shop, "files/notes.txt") == "That is not given out."


def test_only_files_are_given_out_and_only_directories_are_worked_on(shop):
    assert refused(servable, shop, "files") == "That is no file."
    assert refused(servable, shop, "files/none.txt") == "There is no such file."
    assert refused(servable, shop, "files/prices.txt/more") == "There is no such file."
    assert refused(directory, shop, "files/prices.txt") == "That is no directory."
    assert refused(directory, shop, "nowhere") == "There is no such directory."
    assert directory(shop, "files/") == directory(shop, "files")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_file(shop):
    os.mkfifo(shop / "files" / "pipe")
    assert refused(open_servable, shop, "files/pipe") == "That is no file."


def test_a_file_has_as_many_bytes_as_may_be_sent_at_most(shop):
    size = (shop / "files" / "prices.txt").stat().st_size
    assert servable(shop, "files/prices.txt", limit=size).name == "prices.txt"
    for judge in (servable, open_servable):
        assert refused(judge, shop, "files/prices.txt", limit=size - 1) == "The file is too large to send."


def test_fifty_megabytes_may_be_sent_and_no_more(shop):
    with (shop / "files" / "large.bin").open("wb") as file:
        file.truncate(50_000_000)
        assert servable(shop, "files/large.bin")
        file.truncate(50_000_001)
    assert refused(servable, shop, "files/large.bin") == "The file is too large to send."


# --- what is put in a file's place between the look and the reading ---------------------------------------------------


def swapped(shop, given, swap):
    """Open a file for which something else is put in its place after it was judged."""
    path, judged = places._found(shop, given, places.LIMIT)
    swap(path)
    places._opened(Path(os.path.realpath(shop)), path, judged, places.LIMIT).close()


def by_link(target):
    def swap(path):
        path.unlink()
        path.symlink_to(target)

    return swap


def by_directory(target):
    def swap(path):
        path.parent.rename(path.parent.with_name("gone"))
        path.parent.symlink_to(target)

    return swap


@links
def test_a_file_that_becomes_a_link_is_not_followed(shop):
    secret = shop.parent / "beside" / "passport.txt"
    assert refused(swapped, shop, "files/prices.txt", by_link(secret)).endswith("Try again.")
    (shop / "files" / "prices.txt").unlink()
    (shop / "files" / "prices.txt").write_text("again", encoding="utf-8")
    assert refused(swapped, shop, "files/prices.txt", by_link("/dev/zero")).endswith("Try again.")


@links
def test_a_directory_that_becomes_a_link_is_not_followed(shop):
    (shop.parent / "beside" / "prices.txt").write_text("4509", encoding="utf-8")
    assert refused(swapped, shop, "files/prices.txt", by_directory(shop.parent / "beside")).endswith("Try again.")


@links
def test_a_directory_that_leads_to_the_same_file_by_a_link_is_not_followed(shop):
    """What is opened is the file that was judged, and still the way there is not the one that was judged."""

    def swap(path):
        path.parent.rename(path.parent.with_name("gone"))
        path.parent.symlink_to("gone")

    assert refused(swapped, shop, "files/prices.txt", swap).endswith("Try again.")


def test_a_file_that_becomes_another_is_not_read(shop):
    def swap(path):
        (shop / "other.txt").write_text("other", encoding="utf-8")
        (shop / "other.txt").replace(path)

    assert refused(swapped, shop, "files/prices.txt", swap).endswith("Try again.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(shop):
    def swap(path):
        path.unlink()
        os.mkfifo(path)

    assert refused(swapped, shop, "files/prices.txt", swap).endswith("Try again.")


def test_a_file_that_goes_away_is_an_error(shop):
    assert refused(swapped, shop, "instruction.md", Path.unlink).endswith("Try again.")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
def test_a_file_that_becomes_a_directory_is_an_error_and_nothing_stays_open(shop):
    def swap(path):
        path.unlink()
        path.mkdir()

    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    assert refused(swapped, shop, "files/prices.txt", swap).endswith("Try again.")
    assert count() == before


def test_a_file_that_grows_past_what_may_be_sent_is_refused(shop):
    def swap(path):
        with path.open("ab") as file:
            file.truncate(places.LIMIT + 1)

    assert refused(swapped, shop, "files/prices.txt", swap) == "The file is too large to send."


# --- names of what people send ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("prices.pdf", "prices.pdf"),
        ("Прайс-лист май_2026.docx", "Прайс-лист май_2026.docx"),
        ("Прайс\u202efdp.exe", "Прайс_fdp.exe"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\anna\\цены.csv", "цены.csv"),
        (".bashrc", "bashrc"),
        ("...", "document"),
        ("", "document"),
        ("🌷🌷", "document"),
        ("🌷.png", "_.png"),
        ("a\0b.txt", "a_b.txt"),
        ("a\nb.txt", "a_b.txt"),
        ("a : b?.txt", "a _ b_.txt"),
        ("a  b.txt . ", "a b.txt"),
        ("и\u0306од.txt", "йод.txt"),
        ("\uff0e\uff0e\uff0fa.txt", "___a.txt".replace("___", "_")),
        ("NUL.txt", "_NUL.txt"),
        ("com1", "_com1"),
        ("~root", "_root"),
        ("मूल्य.txt", "मूल्य.txt"),
        ("値段.txt", "値段.txt"),
        ("archive.tar.gz", "archive.tar.gz"),
        ("no ending", "no ending"),
        ("ж" * 300 + ".docx", "ж" * 95 + ".docx"),
        ("値" * 300 + ".docx", "値" * 65 + ".docx"),
        ("a." + "b" * 300, "a." + "b" * 98),
    ],
)
def test_a_name_is_made_safe_and_kept_as_far_as_it_can_be(given, expected):
    assert upload_name(given, kind="document") == expected


@given(st.text(CHARACTERS) | st.text(st.characters(), max_size=200) | st.text(max_size=3).map(lambda text: text * 99))
def test_any_name_becomes_one_that_any_system_takes(given):
    name = upload_name(given, kind="voice")
    assert 0 < len(name) <= 100
    assert len(name.encode()) <= 200
    assert not name.startswith(".")
    assert normalize("NFC", name) == name
    assert upload_name(name, kind="voice") == name
    with TemporaryDirectory() as workspace:
        assert inside(Path(workspace), f"files/2026-11/{'0' * 32}-{name}").name.endswith(name)
        assert inside(Path(workspace), name).name == name


# --- what people send -------------------------------------------------------------------------------------------------


def files(workspace):
    return sorted(path.relative_to(workspace).as_posix() for path in workspace.rglob("*") if path.is_file())


@pytest.mark.parametrize("as_what", [bytes, BytesIO, "path"])
def test_what_somebody_sends_is_kept_by_its_content_and_its_name(tmp_path, as_what):
    content = "Роза: 150".encode()
    (tmp_path / "download").write_bytes(content)
    given = tmp_path / "download" if as_what == "path" else as_what(content)
    kept = keep(tmp_path / "shop", given, name="../Цены.txt", kind="document", at=NOVEMBER)
    assert kept == tmp_path / "shop" / "files" / "2026-11" / f"{sha256(content).hexdigest()[:32]}-Цены.txt"
    assert kept.read_bytes() == content
    assert files(tmp_path / "shop") == [kept.relative_to(tmp_path / "shop").as_posix()]


def test_the_same_bytes_are_kept_once_whenever_and_by_whatever_name_they_come(tmp_path):
    first = keep(tmp_path, b"same", name="a.txt", kind="document", at=NOVEMBER)
    assert keep(tmp_path, b"same", name="b.txt", kind="document", at=NOVEMBER) == first
    assert keep(tmp_path, b"same", name="a.txt", kind="voice", at=NOVEMBER + timedelta(days=60)) == first
    assert keep(tmp_path, b"other", name="a.txt", kind="document", at=NOVEMBER) != first
    assert len(files(tmp_path)) == 2


def test_a_kept_file_that_was_cut_short_since_is_replaced(tmp_path):
    first = keep(tmp_path, b"whole", name="a.txt", kind="document", at=NOVEMBER)
    first.write_bytes(b"who")
    assert keep(tmp_path, b"whole", name="a.txt", kind="document", at=NOVEMBER).read_bytes() == b"whole"
    assert len(files(tmp_path)) == 1


def test_what_is_sent_by_many_at_once_is_kept_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        kept = set(pool.map(lambda _: keep(tmp_path, b"x" * 9_999, name="a", kind="voice", at=NOVEMBER), range(40)))
    assert [path.read_bytes() for path in kept] == [b"x" * 9_999]
    assert len(files(tmp_path)) == 1


class Endless:
    """A download that says nothing about its size and does not end."""

    taken = 0

    def read(self, size):
        self.taken += size
        return bytes(size)


def test_a_file_is_given_up_as_soon_as_it_is_too_large_and_nothing_is_left(tmp_path):
    endless = Endless()
    assert (
        refused(keep, tmp_path, endless, name="a.bin", kind="document", limit=1_000_000)
        == "The file is too large to take."
    )
    assert endless.taken <= 1_000_000 + 2 * places._CHUNK
    assert files(tmp_path) == []
    assert keep(tmp_path, bytes(1_000_000), name="a.bin", kind="document", limit=1_000_000)


def test_an_empty_file_is_not_kept(tmp_path):
    assert refused(keep, tmp_path, b"", name="a.txt", kind="document") == "The file is empty."
    assert files(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing(tmp_path):
    def download():
        with Incoming(tmp_path, name="a.txt", kind="document") as incoming:
            incoming.write(b"half")
            assert len(files(tmp_path)) == 1
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        download()
    assert files(tmp_path) == []


def test_a_download_that_was_not_told_to_be_kept_is_not(tmp_path):
    with Incoming(tmp_path, name="a.txt", kind="document") as incoming:
        incoming.write(b"whole")
        incoming.flush()
    assert files(tmp_path) == []


def test_what_cannot_be_written_is_an_error_without_paths(tmp_path):
    (tmp_path / "files").write_bytes(b"in the way")
    with pytest.raises(StoreError) as error:
        keep(tmp_path, b"x", name="a.txt", kind="document")
    assert str(tmp_path) not in str(error.value)
    with pytest.raises(StoreError):
        keep(tmp_path / "new", tmp_path / "missing", name="a.txt", kind="document")


def test_a_full_disk_is_told_apart():
    assert isinstance(places._not_kept(OSError(errno.ENOSPC, "No space left on device")), DiskFullError)
    assert not isinstance(places._not_kept(OSError(errno.EACCES, "Permission denied")), DiskFullError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_full_disk_leaves_nothing(tmp_path):
    with Incoming(tmp_path, name="a.txt", kind="document") as incoming:
        incoming._file.close()
        incoming._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - `incoming` closes it
        with pytest.raises(DiskFullError, match="no room left"):
            incoming.write(b"x")
    assert files(tmp_path) == []


def test_what_a_killed_process_left_on_its_way_is_deleted_the_day_after(tmp_path):
    month = tmp_path / "files" / "2026-11"
    kept = keep(tmp_path, b"x", name="a.txt", kind="document", at=NOVEMBER)
    for name, hours in ((".old.partial", 25), (".new.partial", 1)):
        (month / name).write_bytes(b"half")
        then = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
        os.utime(month / name, (then, then))
    assert tidy(tmp_path) == 1
    assert sorted(path.name for path in month.iterdir()) == [".new.partial", kept.name]
    assert tidy(tmp_path / "nowhere") == 0


def test_what_somebody_sent_can_be_given_out(tmp_path):
    kept = keep(tmp_path, b"x", name="Цены.txt", kind="document")
    with open_servable(tmp_path, kept.relative_to(tmp_path).as_posix()) as file:
        assert file.read() == b"x"
