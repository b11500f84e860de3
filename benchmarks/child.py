"""Peak memory, measured where nothing else ran before: `python child.py read|build WORKSPACE` prints bytes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import trainerlib


def peak() -> int:
    """Most memory this process ever held, in bytes.

    On Linux `ru_maxrss` starts at what the parent held when it made this process, so the kernel's own mark is read.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(workspace: trainerlib.Workspace) -> None:
    events = sum(len(page) for page in workspace.store.pages())
    if events != workspace.store.position:
        raise SystemExit("not every event was read")


def build(workspace: trainerlib.Workspace) -> None:
    dataset = workspace.datasets.build("memory")
    dataset.export(workspace.path / "memory.jsonl", format="openai-chat")


if __name__ == "__main__":
    with trainerlib.open(sys.argv[2], create=False) as opened:
        {"read": read, "build": build}[sys.argv[1]](opened)
    print(peak())
