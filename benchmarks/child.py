"""Peak memory, its workers' included, measured where nothing else ran before.

`python child.py read|build|filters WORKSPACE` prints bytes.
"""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path

from workload import EVERY_FILTER

import trainerlib

_PROC = Path("/proc")


def _mark(status: Path) -> int:
    """The most memory the process of a status file ever held; 0 for one that has ended."""
    try:
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    except OSError:
        return 0
    return int(line.split()[1]) * 1024


class Workers(threading.Thread):
    """Watches the processes this one starts, where the kernel tells of them; `peak` is the sum of what each held."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._marks: dict[str, int] = {}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.02):
            for children in _PROC.glob("self/task/*/children"):
                for child in children.read_text().split():
                    self._marks[child] = max(self._marks.get(child, 0), _mark(_PROC / child / "status"))

    def peak(self) -> int:
        """Bytes, all of them together."""
        self._done.set()
        self.join()
        return sum(self._marks.values())


def peak() -> int:
    """Most memory this process ever held, in bytes.

    On Linux `ru_maxrss` starts at what the parent held when it made this process, so the kernel's own mark is read.
    """
    if _PROC.is_dir():
        return _mark(_PROC / "self/status")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(workspace: trainerlib.Workspace) -> None:
    events = sum(len(page) for page in workspace.store.pages())
    if events != workspace.store.position:
        raise SystemExit("not every event was read")


def build(workspace: trainerlib.Workspace) -> None:
    dataset = workspace.datasets.build("memory")
    dataset.export(workspace.path / "memory.jsonl", format="openai-chat")


def filters(workspace: trainerlib.Workspace) -> None:
    workspace.datasets.build("memory", EVERY_FILTER)


if __name__ == "__main__":
    workers = Workers()
    workers.start()
    with trainerlib.open(sys.argv[2], create=False) as opened:
        {"read": read, "build": build, "filters": filters}[sys.argv[1]](opened)
    print(peak() + workers.peak())
