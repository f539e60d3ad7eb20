"""Cases 53 to 60: killed, interrupted, out of disk, two at once; and the same bytes in the end."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import verify_snapshot
from tests.faults.launcher import ROOT, Launcher
from tests.faults.study import Study, run_probes_and_scores

TUNED = "data/models/tuned"
Whole = tuple[dict[str, str], list[str]]  # sums of the files; writes in order


@pytest.fixture(scope="session")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Whole:
    """The sums of an uninterrupted fine-tuning in three steps, and its writes in order."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("whole") / "study"))
    study, report = Study(root, launcher, lambda text: None), root.parent / "writes"
    study.well(*study.finetune(), hooks=[("list_writes", [str(root), str(report)])])
    return study.sums(TUNED), report.read_text().splitlines()


def steps(study: Study) -> int:
    """Training steps of a fine-tuning that must succeed."""
    report = study.root.parent / "steps"
    report.unlink(missing_ok=True)
    study.well(*study.finetune(), hooks=[("count_steps", [str(report)])])
    return len(report.read_text()) if report.exists() else 0


def killed(study: Study, write: str) -> bool:
    """Whether the fine-tuning came to that write, at which it is killed."""
    report = study.root.parent / "writes"
    report.unlink(missing_ok=True)
    done = study.run(*study.finetune(), hooks=[("kill_at", [write, str(study.root), str(report)])])
    assert done.code in (0, -signal.SIGKILL), done
    return done.code != 0


def sealed(folder: Path) -> bool:
    """Whether other stages take the folder for a model: they check it against its manifest, which is written last."""
    try:
        verify_snapshot(folder)
    except IntegrityError:
        return False
    return True


def lock_of_the_training(study: Study) -> list[Path]:
    """The lock, once the process that holds it has written its number."""
    return [path for path in (study.root / "data/checkpoints").glob(".*.lock") if path.read_text()]


def test_case_53_killed_at_every_write(study: Study, whole: Whole, tell: Callable[[str], None]) -> None:
    """SIGKILL at every write of a checkpoint and of the model, each run on what the one before left."""
    sums, writes = whole
    points = [w for w in dict.fromkeys(writes) if "checkpoint-1" not in w and "checkpoint-3" not in w]
    for name in "half", "model", "optimizer", "scheduler", "rng_state", "trainer_state", "manifest", "tuned/config":
        assert any(name in point for point in points), name
    survived = 0
    for point in points:
        survived += killed(study, point)
        assert not sealed(study.root / TUNED) or study.sums(TUNED) == sums, "what counts as a model is the whole model"
    shutil.rmtree(study.root / TUNED)  # as DVC does before it runs the stage again
    study.well(*study.finetune())
    assert study.sums(TUNED) == sums
    assert survived > 25
    tell(f"{survived} kills survived, at {len(points)} of {len(writes)} writes; the same {len(sums)} files to the bit")


def test_case_53_killed_while_it_writes(done: Study, tell: Callable[[str], None]) -> None:
    """SIGKILL at each write of evaluate over an older result: each file is the old or the new one."""
    done.squad((done.root / "dev.json").read_bytes().replace(b'"version"', b'"x": 0, "version"'))
    answers = done.root / "data/predictions/tiny/tiny/standard/answers.json"
    answers.write_text(answers.read_text().replace('"null_threshold": 0.0', '"null_threshold": 1.0'))
    before, old = shutil.copytree(done.root, done.root.parent / "before"), done.sums()
    done.well(*done.evaluate())
    new = done.sums()
    assert new != old
    kills = 0
    while True:
        shutil.rmtree(done.root)
        shutil.copytree(before, done.root)
        report = done.root.parent / "writes"
        outcome = done.run(*done.evaluate(), hooks=[("kill_at_write", [kills + 1, str(done.root), str(report)])])
        if outcome.code == 0:
            break
        assert outcome.code == -signal.SIGKILL
        kills += 1
        for name, content in done.sums().items():
            assert name.rpartition("/")[2].startswith(".") or content in (old.get(name), new.get(name)), name
    assert done.sums() == new
    assert kills > 8
    tell(f"{kills} kills survived")


@pytest.mark.parametrize(
    ("damage", "name"), [("missing", "optimizer.pt"), ("truncated", "rng_state.pth"), ("seal", "manifest.json")]
)
def test_case_54_damaged_checkpoint(
    damage: str, name: str, study: Study, whole: Whole, tell: Callable[[str], None]
) -> None:
    """A file of the newest checkpoint missing or cut off, its seal wrong: one line, the one before, the same bits."""
    assert killed(study, next(w for w in whole[1] if w.startswith("half") and "checkpoint-3/optimizer" in w))
    (work,) = (p for p in (study.root / "data/checkpoints").iterdir() if p.is_dir())
    path = work / "checkpoint-2" / name
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_text(re.sub('"sha256": "[0-9a-f]{4}', '"sha256": "0000', path.read_text()))
    outcome = study.well(*study.finetune())
    assert len(re.findall("^not used, and removed: .*checkpoint-2", outcome.err, re.MULTILINE)) == 1
    assert "from checkpoint-1" in outcome.err
    assert study.sums(TUNED) == whole[0]
    tell("1 kill; checkpoint-2 named and removed, checkpoint-1 used, the same bits")


def test_case_55_rerun_of_a_finished_training(study: Study, whole: Whole, tell: Callable[[str], None]) -> None:
    """Killed after the last step, before the model is written: the rerun takes no step, and gives the same bits."""
    assert killed(study, next(w for w in whole[1] if w.endswith("tuned/config.json")))
    assert steps(study) == 0
    assert study.sums(TUNED) == whole[0]
    tell("1 kill; 0 steps, same bits")


def test_case_56_checkpoint_of_another_training(study: Study, whole: Whole, tell: Callable[[str], None]) -> None:
    """Other batch size, seed, questions: the old checkpoint is not gone on from; back again, it is."""
    assert killed(study, next(w for w in whole[1] if w.startswith("half") and "checkpoint-3/optimizer" in w))
    train, params = (study.data / "train.json").read_bytes(), (study.root / "params.yaml").read_bytes()
    changes: dict[str, Callable[[], object]] = {
        "batch size": lambda: study.set(finetuned__tuned__train_batch_size=6),
        "seed": lambda: study.set(finetuned__tuned__seed=5),
        "questions": lambda: study.squad(train.replace(b'"question": "', b'"question": "Well, '), "train"),
    }
    taken = {}
    for name, change in changes.items():
        change()
        taken[name] = steps(study)
        assert study.sums(TUNED) != whole[0]
        study.squad(train, "train")
        (study.root / "params.yaml").write_bytes(params)
    assert taken == {"batch size": 2, "seed": 3, "questions": 3}
    assert steps(study) == 1  # the one that the kill cost
    assert study.sums(TUNED) == whole[0]
    tell("1 kill; all steps from the start each time; with the old values again, 1 step: the one that it cost")


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A file system of that size at `folder`, if this user may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def test_case_57_full_disk(done: Study, whole: Whole, tell: Callable[[str], None]) -> None:
    """A disk that is full from the n-th write on; files that cannot grow; a real full tmpfs; files for folders."""
    done.well(*done.finetune())
    done.set(finetuned__tuned__seed=9)
    report = str(done.root.parent / "writes")

    def full_at(number: int) -> list[tuple[str, list[object]]]:
        return [("fail_at_write", [number, str(done.root), report])]

    tried, before, model = 0, done.sums(), done.root / TUNED
    for number in range(1, len(whole[1]), 9):
        outcome = done.run(*done.finetune(), hooks=full_at(number))
        if outcome.code == 0:  # nothing but removals was left to do
            assert number > 60
            break
        shutil.rmtree(done.root / "data/checkpoints", ignore_errors=True)  # sealed or not, no result
        done.failed(outcome, 4, [])
        assert not sealed(model) or done.sums() == before
        assert {name: content for name, content in done.sums().items() if TUNED not in name} == {
            name: content for name, content in before.items() if TUNED not in name
        }
        tried += 1
    assert tried > 5
    for command in done.probe_train(), done.predict(), done.evaluate():  # they would write again what is there
        for number in 1, 2:
            done.refused(4, ["No space left on device: '"], *command, hooks=full_at(number))
            tried += 1
        done.refused(4, ["File too large"], *command, hooks=[("file_size_limit", [700])])  # stderr may grow so far
        tried += 1
    disk = done.root / "small"
    with small_disk(disk, "100k") as mounted:
        if mounted:
            done.failed(done.run(*done.finetune()[:-1], "small/tuned"), 4, ["small/tuned"])
            assert not sealed(disk / "tuned")
            shutil.rmtree(disk / "tuned")
            done.failed(done.run(*done.finetune(), "--checkpoints", "small/work"), 4, ["small/work", "No space left"])
            shutil.rmtree(disk / "work")
            full = done.run(*done.probe_train()[:-1], "small/a/b", hooks=[("fill", [str(disk)])])
            done.failed(full, 4, ["small/a/b/", "No space left on device"])
            tried += 3
    (done.root / "file").write_text("mine")
    for out in "file", "file/below":
        done.refused(4, ["file"], *done.probe_train()[:-1], out)
    tell(f"one line in {tried + 2} attempts{', some on a real full tmpfs' if mounted else ''}; no half file of results")


def test_case_58_two_at_once(study: Study, whole: Whole, tell: Callable[[str], None]) -> None:
    """The same training twice at once: the second exits with the first one's pid; the first is not disturbed."""
    first = study.start(*study.finetune(), hooks=[("slow_steps", [0.5])])
    first.when(lambda: lock_of_the_training(study))
    second = study.run(*study.finetune())
    assert second.code == 5
    (line,) = second.errors
    assert f"process {first.pid} runs this training; wait for it, or stop it (kill {first.pid})" in line
    assert first.wait().code == 0
    assert study.sums(TUNED) == whole[0]
    assert not study.leftovers()
    tell(f"exit 5, {line}")


def test_case_58_orphan_of_a_killed_dvc(study: Study, tell: Callable[[str], None]) -> None:
    """SIGKILL of `dvc repro`, whose training lives on: the next run is refused; then DVC runs it, and it is stored."""
    study.set(finetuned__tuned__num_train_epochs=200)
    command = " ".join(["python", "-m", f"stages.{study.finetune()[0]}", *study.finetune()[1:]])
    stage = f"stages:\n  finetune:\n    cmd: {command}\n    deps: [data/models/tiny]\n    outs: [{TUNED}]\n"
    (study.root / "dvc.yaml").write_text(stage)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}

    def dvc(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            **{"cwd": study.root, "env": environment, "text": True, "stdout": subprocess.DEVNULL},
            stderr=subprocess.DEVNULL,
        )

    assert dvc("init", "--no-scm", "-q").wait() == 0
    repro = dvc("repro", "-q")
    while not lock_of_the_training(study):
        assert repro.poll() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            repro.wait(0.05)
    orphan = int(lock_of_the_training(study)[0].read_text())
    repro.kill()
    repro.wait()
    refused = study.run(*study.finetune())
    assert refused.code == 5
    assert f"process {orphan} runs this training" in refused.err
    os.kill(orphan, signal.SIGTERM)
    while Path(f"/proc/{orphan}").exists() and "Z" not in Path(f"/proc/{orphan}/stat").read_text().split()[2]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            repro.wait(0.05)
    assert not study.leftovers()
    study.set(finetuned__tuned__num_train_epochs=1)
    assert dvc("repro", "-q").wait() == 0
    assert sealed(study.root / TUNED)
    assert dvc("status", "-q").wait() == 0
    tell("1 kill; refused with the orphan's pid; after it ends, the next `dvc repro` makes a whole model")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_case_59_interrupted(number: signal.Signals, code: int, study: Study, whole: Whole) -> None:
    """SIGINT and SIGTERM while it trains: exit code, one line, resumable, no process left."""
    running = study.start(*study.finetune(), hooks=[("slow_steps", [0.3])])
    running.when(lambda: list((study.root / "data/checkpoints").glob("*/checkpoint-2/manifest.json")))
    os.kill(running.pid, number)
    outcome = running.wait()
    study.failed(outcome, code, [f"stopped by {number.name}"])
    assert not (study.root / TUNED).exists()
    assert not Path(f"/proc/{running.pid}").exists()
    assert steps(study) == 1
    assert study.sums(TUNED) == whole[0]


OUTPUTS = (
    "data/models/tuned",
    "data/probes/tiny/tiny",
    "data/predictions/tiny/tiny",
    "data/scores/demo/tiny",
    "metrics",
    "plots",
)


def test_case_60_same_seed_same_bytes(template: Path, done: Study, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """All stages twice, in other folders and processes with other hash seeds: same bytes."""
    other = Launcher(Path(shutil.copytree(template, tmp_path / "jobs")), PYTHONHASHSEED="7")
    try:
        second = Study(Path(shutil.copytree(template, tmp_path / "a folder/second")), other, tell)
        run_probes_and_scores(second)
        for study in done, second:
            study.well(*study.finetune())
            study.well(*study.report())
    finally:
        other.close()
    compared = 0
    for folder in OUTPUTS:
        sums = done.sums(folder)
        assert sums == second.sums(folder)
        compared += len(sums)
    assert any(name.endswith(".png") for name in done.sums("plots"))
    tell(f"{compared} files equal")
