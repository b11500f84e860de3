"""A process that follows a job and is killed: `python killed.py`, a line of JSON for each run on its input.

It forks for each run, so that a run begins in milliseconds and has no state but what is on the disk. A run asks for a
fine-tune as somebody would who was killed before: with the same words again. It is killed by the server, which reads
its process id from a header, or by itself, right after it records something for the n-th time.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import filelock  # noqa: F401 - loaded once, not in each run
import openai

import trainerlib
import trainerlib.workspace
from trainerlib.store.eventstore import EventStore
from trainerlib.trainers.openai_api import OpenAITrainer


def run(workspace, kill=0):
    os.environ["OPENAI_PROJECT_ID"] = str(os.getpid())
    recorded = 0

    def killing(append):
        def appended(*arguments, **options):
            nonlocal recorded
            done = append(*arguments, **options)
            recorded += 1
            if recorded == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return appended

    with trainerlib.open(workspace) as ws:
        ws.jobs.use(OpenAITrainer(ws.jobs.workshop, patience=0.2, soonest=0.01, whole=2_000, part=3_000))
        for name in ("append", "append_batch"):
            setattr(ws.store, name, killing(getattr(EventStore, name).__get__(ws.store)))
        ended = [job for job in ws.jobs.list() if job.state.ended]
        job = ended[0] if ended else ws.jobs.start("support", model="gpt-x", validation=False)
        done = job.follow(timeout=20)
    return f"{done.state} {recorded}"


if __name__ == "__main__":
    with openai.OpenAI(api_key="unused") as client:
        # Each of these loads its module when it is first asked for.
        _ = client.files, client.uploads.parts, client.fine_tuning.jobs.checkpoints
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, run(**json.loads(line)).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as told:
            print(told.read() or f"killed {-os.waitstatus_to_exitcode(status)}", flush=True)
