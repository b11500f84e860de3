"""Files reach the trainer whole, once, and without lying in memory."""

from __future__ import annotations

import shutil
import tracemalloc

import pytest
from training_server import Fault
from training_shop import hurried

import trainerlib
from trainerlib.errors import TrainingError
from trainerlib.events import TrainingFileUploaded, TrainingRequested
from trainerlib.trainers.openai_api import OpenAITrainer

PARTS = "POST /uploads/[^/]+/parts"


def start(ws, **more):
    return ws.jobs.start("support", model="gpt-x", validation=False, **more)


@pytest.fixture
def parts(shop):
    """A workspace that sends anything above 1,000 bytes in parts of 1,000."""
    with trainerlib.open(shop) as workspace:
        yield hurried(workspace, whole=1_000, part=1_000)


def test_the_file_is_what_the_dataset_exports(ws, server, tmp_path):
    job = start(ws)
    job.advance()
    ws.datasets.get("support").export(tmp_path / "train.jsonl", format="openai-chat", split="train")
    assert server.files[0]["content"] == (tmp_path / "train.jsonl").read_bytes()
    assert job.state.uploads["train"] == TrainingFileUploaded(
        "train", "file-1", job.state.request.sha256["train"], len(server.files[0]["content"])
    )


def test_a_file_that_was_recorded_is_not_sent_again(shop, server):
    with trainerlib.open(shop) as ws:
        job = start(hurried(ws))
        job.advance()
    with trainerlib.open(shop) as ws:
        hurried(ws).jobs.get(job.id).follow(timeout=20)
    assert server.requests.count("POST /files") == 1


def test_a_file_that_was_sent_but_not_recorded_is_found(ws, server):
    server.fail("POST /files", Fault(status=500, accept=True))
    assert start(ws).follow(timeout=20).state == "succeeded"
    assert len(server.files) == 1


def test_a_file_that_was_not_taken_is_sent_again(ws, server):
    server.fail("POST /files", Fault(status=503, times=2))
    assert start(ws).follow(timeout=20).state == "succeeded"
    assert len(server.files) == 1


def test_a_server_without_a_list_of_files_will_do(ws, server):
    server.fail("GET /files", Fault(status=404, times=9))
    assert start(ws).follow(timeout=20).state == "succeeded"


def test_a_large_file_goes_in_parts(parts, server):
    assert start(parts).follow(timeout=20).state == "succeeded"
    [upload] = server.uploads.values()
    assert [len(part) for part in upload["parts"].values()][:-1] == [1_000] * (len(upload["parts"]) - 1)
    assert server.jobs[0]["training_file"] == upload["file"]["id"]
    assert "POST /files" not in server.requests


def test_a_part_that_breaks_is_sent_again(parts, server):
    server.fail(PARTS, Fault(drop=True, times=2))
    assert start(parts).follow(timeout=20).state == "succeeded"
    assert len(server.uploads) == 1


def test_an_upload_goes_on_after_a_restart(shop, server):
    with trainerlib.open(shop) as ws:
        job = start(hurried(ws, whole=1_000, part=1_000))
        for _ in range(3):
            job.advance()
    assert [len(upload["parts"]) for upload in server.uploads.values()] == [2]
    with trainerlib.open(shop) as ws:
        # Parts of another size now: those that were begun stay as they are.
        assert hurried(ws, whole=1_000, part=700).jobs.get(job.id).follow(timeout=20).state == "succeeded"
    assert len(server.uploads) == 1


def test_an_upload_whose_end_was_not_answered_is_found(parts, server):
    server.fail("POST /uploads/[^/]+/complete", Fault(status=500, accept=True))
    assert start(parts).follow(timeout=20).state == "succeeded"
    assert len(server.files) == 1


def test_an_upload_that_expired_is_begun_anew(parts, server):
    job = start(parts)
    for _ in range(3):
        job.advance()
    server.uploads["upload_1"]["status"] = "expired"
    assert job.follow(timeout=20).state == "succeeded"
    assert len(server.uploads) == 2


def test_an_upload_that_is_refused_again_and_again_ends_the_job(parts, server):
    server.fail(PARTS, Fault(400, "This part is not welcome", times=99))
    done = start(parts).follow(timeout=20)
    assert (done.state, done.error) == ("refused", "This part is not welcome")


@pytest.mark.parametrize("whole", [100_000_000, 1_000])
def test_a_file_is_not_read_into_memory(shop, server, tmp_path, whole):
    size = 24_000_000
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"x" * size)

    class Large:
        """A job whose file is large: nothing but a path and a place."""

        directory = tmp_path

        def __init__(self, job):
            self.job = job

        def file(self, _):
            return path

        def record(self, events, _=()):
            self.recorded = events

    with trainerlib.open(shop) as ws:
        job = start(hurried(ws))
        request = job.state.request
        assert isinstance(request, TrainingRequested)
        trainer = OpenAITrainer(ws.jobs.workshop, whole=whole, part=2_000_000, soonest=0.01)
        server.keep = False
        work = Large(job.state)
        tracemalloc.start()
        try:
            trainer.advance(work)
            trainer.advance(work)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert server.received > 2_000_000
    assert peak < size / 2


def test_missing_files_are_made_again(ws):
    job = start(ws)
    shutil.rmtree(job.directory)
    assert job.follow(timeout=20).state == "succeeded"


def test_a_file_that_was_changed_on_the_disk_is_made_again(ws, server):
    job = start(ws)
    file = job.directory / "train.jsonl"
    original = file.read_bytes()
    file.write_text('{"messages":[]}\n')
    job.advance()
    assert server.files[0]["content"] == original


def test_words_of_a_person_who_was_erased_since_are_not_sent(tmp_path, shop, server):
    from histories import row, write

    from trainerlib.erasure import erase_person

    with trainerlib.open(shop) as ws:
        hurried(ws)
        rows = [row(f"chat:{number}", f"Где мой заказ {number}?", f"В пути, номер {number}.") for number in range(40)]
        for one in rows:
            one["messages"][0]["author"] = "telegram:7"
        ws.import_file(write(tmp_path / "more.jsonl", rows), basis="operator: our own")
        ws.person("telegram:7").give_consent(wording="2026-11")
        ws.datasets.build("more")
        job = ws.jobs.start("more", model="gpt-x")
        erase_person(ws.store, ws.path, "telegram:7")
        done = job.follow(timeout=20)
        assert (done.state, done.code) == ("refused", "files")
        assert "erased" in done.error
        assert not (job.directory / "train.jsonl").exists()
    assert server.files == []


def test_a_trainer_of_an_entry_point_that_is_not_there_is_refused(ws):
    with pytest.raises(TrainingError, match="there is no trainer 'elsewhere'"):
        ws.jobs.start("support", model="x", trainer="elsewhere")


ELSEWHERE = """
from trainerlib.events import TrainingSubmitted, TrainingSucceeded


class Elsewhere:
    name = "elsewhere"
    formats = {"sft": "sharegpt"}

    def __init__(self, workshop):
        self.key = workshop.secret("ELSEWHERE_KEY")

    def check(self, request):
        pass

    def advance(self, work):
        if not work.job.remote:
            lines = work.file("train").read_bytes().count(b"\\n")
            work.record([TrainingSubmitted(f"{self.key}-{lines}")])
            return 0
        work.record([TrainingSucceeded("openai:tuned-elsewhere")])
"""


def test_a_package_adds_a_trainer_by_an_entry_point(shop, tmp_path, monkeypatch):
    """Installed is enough: its format is exported, its steps are recorded, its model is known."""
    package = tmp_path / "site"
    (package / "elsewhere-1.dist-info").mkdir(parents=True)
    (package / "elsewhere_trainer.py").write_text(ELSEWHERE, encoding="utf-8")
    (package / "elsewhere-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (package / "elsewhere-1.dist-info" / "entry_points.txt").write_text(
        "[trainerlib.trainers]\nelsewhere = elsewhere_trainer:Elsewhere\n"
    )
    monkeypatch.syspath_prepend(package)
    monkeypatch.setenv("ELSEWHERE_KEY", "job")
    with trainerlib.open(shop) as ws:
        done = ws.jobs.start("support", model="x", trainer="elsewhere").follow(timeout=20)
        assert (done.state, done.remote, done.request.format) == (
            "succeeded",
            f"job-{done.request.rows['train']}",
            "sharegpt",
        )
        assert ws.models.get("openai:tuned-elsewhere").job == done.id
