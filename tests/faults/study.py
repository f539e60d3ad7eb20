"""A small study in a folder of its own, and what every failing case asserts of it."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages.qa.models.manifest import checksum
from tests.faults.launcher import ROOT, Hook, Launcher, Outcome, Running
from tests.tiny_models import read_yaml, write_yaml

L2 = "metrics/demo/l2.json"
LEFTOVER = re.compile(r"^\..*\.(partial\d*|lock|packed)$|\.incomplete$|^\.?tmp")


def few(data: dict[str, Any], questions: int) -> dict[str, Any]:
    """Two questions of each of the first paragraphs of SQuAD data, so many in all."""
    paragraphs = [paragraph for article in data["data"] for paragraph in article["paragraphs"]][: questions // 2]
    return data | {"data": [{"title": "t", "paragraphs": [p | {"qas": p["qas"][:2]} for p in paragraphs]}]}


def write_squad(path: Path, document: Any) -> None:
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())


class Study:
    """A copy of the template that a test may damage."""

    def __init__(self, root: Path, launcher: Launcher, tell: Callable[[str], None]) -> None:
        self.root, self.launcher, self.tell = root, launcher, tell
        self.data, self.models = root / "data/squad/sample", root / "data/models"

    def start(self, *command: object, hooks: Sequence[Hook] = (), **environment: str) -> Running:
        return self.launcher.start(self.root, *command, hooks=hooks, environment=environment)

    def run(self, *command: object, hooks: Sequence[Hook] = (), **environment: str) -> Outcome:
        """The outcome of `python -m stages.COMMAND`."""
        return self.start(*command, hooks=hooks, **environment).wait()

    def well(self, *command: object, hooks: Sequence[Hook] = (), **environment: str) -> Outcome:
        """The outcome of a command that must succeed, and leave nothing but its outputs."""
        done = self.run(*command, hooks=hooks, **environment)
        assert done.code == 0, done
        assert not self.leftovers()
        return done

    def refused(
        self, code: int, says: Sequence[str], *command: object, hooks: Sequence[Hook] = (), **environment: str
    ) -> str:
        """The error line of a command that must fail with `code`, one line that holds `says`, and change nothing."""
        before = self.sums()
        line = self.failed(self.run(*command, hooks=hooks, **environment), code, says)
        assert self.sums() == before, "a failed stage changed something"
        return line

    def failed(self, done: Outcome, code: int, says: Sequence[str]) -> str:
        """The error line of a command that ended so."""
        assert done.code == code, done
        assert "Traceback" not in done.err, done.err
        assert len(done.errors) == 1, done.err
        line = done.errors[0]
        for part in says:
            assert part in line, (part, line)
        assert line.isprintable()
        assert not self.leftovers()
        short = line.replace(f"{self.root}/", "")
        self.tell(f"exit {code}, {short if len(short) <= 150 else short[:147] + '...'}")
        return line

    def sums(self, folder: str = ".") -> dict[str, str]:
        """The checksum of every file, but for the checkpoints that an unfinished training keeps."""
        there, work = self.root / folder, self.root / "data/checkpoints"
        files = (path for path in sorted(there.rglob("*")) if path.is_file() and work not in path.parents)
        return {str(path.relative_to(there)): checksum(path) for path in files}

    def leftovers(self) -> list[Path]:
        """What a stage should have removed; DVC's own files and unfinished trainings do not count."""
        keepers = {self.root / ".dvc", self.root / "data/checkpoints"}
        return [p for p in self.root.rglob("*") if LEFTOVER.search(p.name) and not keepers & {p, *p.parents}]

    def set(self, **values: Any) -> None:
        """Other values in the file that has them: windows__doc_stride=3."""
        for file in self.root / "params.yaml", self.root / "method.yaml":
            sections = read_yaml(file)
            for name, value in values.items():
                *path, key = name.split("__")
                place = sections
                for section in path:
                    place = place.get(section, {})
                if key in place or (len(path) > 1 and place):
                    place[key] = value
            write_yaml(file, sections)

    def squad(self, document: Any, name: str = "dev") -> Path:
        """Write data/squad/sample/NAME.json."""
        path = self.data / f"{name}.json"
        write_squad(path, document)
        return path

    # the commands, as dvc.yaml has them
    def finetune(self) -> list[str]:
        return ["finetune", "tuned", "data/models/tiny", "data/squad/sample", "data/models/tuned"]

    def probe_train(self, model: str = "tiny") -> list[str]:
        return ["probe_train", f"data/models/{model}", "data/squad/sample", f"data/probes/{model}/{model}"]

    def predict(self, model: str = "tiny", probes: bool = True) -> list[str]:
        probes_dir = f"data/probes/{model if probes else 'none'}/{model}"
        answers = f"data/predictions/{model}/{model}"
        return ["predict", f"data/models/{model}", "data/squad/sample", probes_dir, answers]

    def evaluate(self, model: str = "tiny", probes: bool = True) -> list[str]:
        probes_dir = f"data/probes/{model if probes else 'none'}"
        inputs = [probes_dir, "data/squad/sample", L2, f"data/predictions/{model}"]
        outs = [f"metrics/demo/{model}.json", f"metrics/demo/{model}/evaluate", f"data/scores/demo/{model}"]
        return ["evaluate", model, *inputs, *outs]

    def examine(self) -> list[str]:
        inputs = ["data/models/tiny", "data/squad/sample", L2]
        return ["examine", "tiny", *inputs, "metrics/demo/tiny/examine"]

    def report(self) -> list[str]:
        inputs = ["metrics/demo", "data/scores/demo", "data/squad/sample"]
        return ["report", *inputs, f"{ROOT}/studies/published", f"{ROOT}/requirements.txt", "plots/demo"]


def run_probes_and_scores(study: Study) -> None:
    """All stages but the fine-tuning and the report, for a model with probes and one with a head alone."""
    commands = [study.probe_train(), study.predict(), study.evaluate(), study.examine()]
    commands += [study.predict("headed", probes=False), study.evaluate("headed", probes=False)]
    for command in commands:
        study.well(*command)
