"""A process that has imported everything once and forks for each command: a real process in 0.1 s in place of 6 s.

`python -m tests.faults.launcher FOLDER` reads jobs as JSON lines, which `Launcher` and the clones of tests/clones.py
write to the named pipe FOLDER/queue. A job is
`python -m stages.NAME ...` in every respect but the import time: own process, own streams, own exit code and signals.
It may have hooks: functions of tests/faults/hooks.py, called with their arguments before the stage starts.
"""

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Hook = tuple[str, list[Any]]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # exit code, or minus the number of the signal that killed it
    out: str
    err: str
    peak_mib: float  # resident memory of the process, that of the imports (about 500) included

    @property
    def errors(self) -> list[str]:
        """The error lines."""
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error: ")]


class Running:
    """A command that has been started."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name

    @property
    def pid(self) -> int:
        """Of the process that runs the stage."""
        return int(_wait_for(self.path.with_suffix(".pid")).read_text())

    def when(self, there: Callable[[], object]) -> None:
        """Wait until `there()` is true; fail if the command ends before."""
        while not there():
            assert not self.path.with_suffix(".done").exists(), self.wait()
            time.sleep(0.01)

    def wait(self) -> Outcome:
        done = json.loads(_wait_for(self.path.with_suffix(".done")).read_text())
        out, err = (self.path.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
        return Outcome(done["code"], out, err, done["peak_mib"])


def _wait_for(path: Path) -> Path:
    end = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.005)
    return path


class Launcher:
    """Starts stages in folders of the tests' choosing."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.count = folder, 0
        os.mkfifo(folder / "queue")
        self.queue = os.open(folder / "queue", os.O_RDWR)
        command = [sys.executable, "-m", "tests.faults.launcher", str(folder)]
        settings = {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"} | environment
        self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdin=self.queue)

    def start(
        self, cwd: Path, *arguments: object, hooks: Sequence[Hook] = (), environment: Mapping[str, str] | None = None
    ) -> Running:
        """`python -m stages.ARGUMENTS...` in the folder `cwd`."""
        self.count += 1
        job = {"name": str(self.count), "cwd": str(cwd), "arguments": [str(a) for a in arguments]}
        job |= {"hooks": list(hooks), "environment": dict(environment or {})}
        os.write(self.queue, f"{json.dumps(job)}\n".encode())
        return Running(self.folder, str(self.count))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.queue)


def _serve(folder: Path) -> None:
    import huggingface_hub  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401
    import scipy.optimize  # noqa: F401
    from transformers import AutoModel, AutoModelForQuestionAnswering, AutoTokenizer, Trainer  # noqa: F401

    from stages.qa.encoding import features  # noqa: F401
    from stages.qa.finetuning import training  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        if os.fork() == 0:
            _supervise(folder / job["name"], job)
            os._exit(0)


def _supervise(path: Path, job: dict[str, Any]) -> None:
    worker = os.fork()
    if worker == 0:
        _work(path, job)
    path.with_suffix(".part").write_text(str(worker))
    path.with_suffix(".part").rename(path.with_suffix(".pid"))
    _, status, usage = os.wait4(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    path.with_suffix(".part").write_text(json.dumps({"code": code, "peak_mib": usage.ru_maxrss / 1024}))
    path.with_suffix(".part").rename(path.with_suffix(".done"))


def _work(path: Path, job: dict[str, Any]) -> None:
    for number, end in (0, None), (1, ".out"), (2, ".err"):
        flags = os.O_RDONLY if end is None else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(os.devnull if end is None else path.with_suffix(end), flags, 0o600), number)
    code: object = 1
    try:
        from tests.faults import hooks

        os.chdir(job["cwd"])
        os.environ.update(job["environment"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stage, *arguments = job["arguments"]
        sys.argv = [f"stages/{stage}.py", *arguments]
        for name, values in job["hooks"]:
            getattr(hooks, name)(*values)
        runpy.run_module(f"stages.{stage}", run_name="__main__")
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
