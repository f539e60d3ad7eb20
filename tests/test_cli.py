"""Command lines: one line for a fault, its exit code, no traceback; progress as lines in a log."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from stages.qa.progress import progress_bar

ROOT = Path(__file__).parents[1]


def command(body: str) -> subprocess.CompletedProcess[str]:
    code = f"from stages.qa.cli import run\nfrom stages.qa import errors\ndef main() -> None:\n    {body}\nrun(main)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("raise errors.InputError('a: b\\n  c')", 2, "error: a: b c"),
        ("raise errors.IntegrityError('a')", 3, "error: a"),
        ("raise errors.NumericsError('a')", 4, "error: a"),
        ("open('/no/such/file')", 4, "error: [Errno 2] No such file or directory: '/no/such/file'"),
    ],
)
def test_a_fault_is_one_line_and_a_code(body: str, code: int, line: str) -> None:
    done = command(body)
    assert (done.returncode, done.stderr.splitlines(), done.stdout) == (code, [line], "")


def test_a_bug_keeps_its_traceback() -> None:
    done = command("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_log_shows_progress_in_plain_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress_bar("counting", total=3, unit="sheep") as progress:
        for _ in range(3):
            progress.set_postfix(loss="0.500", refresh=False)
            progress.update()
    last = caplog.messages[-1]
    assert last.startswith("counting: 100% 3/3 [")
    assert last.endswith("loss=0.500]")
    assert not any("\r" in message for message in caplog.messages)
    assert len(caplog.messages) <= 2
