"""A stand-in for the Hugging Face hub on the loopback interface, for tests: what its client asks, faults on demand.

    from tests import hub_lookalike

    with hub_lookalike.serve({"org/name": folder}) as hub:
        hub.use(monkeypatch, tmp_path / "hf")            # this process; or, for a child process:
        env = os.environ | hub.environment(tmp_path / "hf")
        hub.fault("drop", "model.safetensors")
        source = f"hub:org/name@{hub_lookalike.REVISION}"

Files of LFS_BYTES or more are served as the hub serves large files: by a redirect to another origin, with their sha256
as the entity tag. Smaller ones have git's blob id.
"""

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

REVISION = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 4096


@dataclass(frozen=True)
class Request:
    """One request as it arrived. `host` tells the hub (127.0.0.1) from where it keeps large files (localhost)."""

    method: str
    path: str
    host: str
    authorization: str | None


@dataclass
class Hub:
    """A running stand-in. Attributes may be changed while it runs. A data set's name starts with datasets/."""

    url: str
    repos: Mapping[str, Path]
    token: str | None = None  # if set, requests without it are refused
    requests: list[Request] = field(default_factory=list)
    faults: list[list[Any]] = field(default_factory=list)  # kind, end of the path, how often still
    stalled: threading.Event = field(default_factory=threading.Event)  # set once a body stalls
    released: threading.Event = field(default_factory=threading.Event)  # set to let stalled bodies go on

    def fault(self, kind: str, path_end: str = "", times: int = 10**9) -> None:
        """Serve requests whose path ends with `path_end` wrongly, `times` times.

        kind: `drop` (half the body, then the connection breaks), `corrupt` (same size, first byte flipped), `stall`
        (half the body, then silence), `gated` (403), or a status code such as `500`.
        """
        self.faults.append([kind, path_end, times])

    def clear(self) -> None:
        """No more faults."""
        self.faults.clear()

    def take_fault(self, path: str, kinds: str) -> str | None:
        """The kind of fault to serve for `path`, among `kinds` (`body`, or `status` before any body)."""
        for fault in self.faults:
            is_body = fault[0] in ("drop", "corrupt", "stall")
            if fault[2] > 0 and path.endswith(fault[1]) and is_body == (kinds == "body"):
                fault[2] -= 1
                return str(fault[0])
        return None

    def bodies(self) -> list[str]:
        """The paths that were asked for with GET and hold content, in order."""
        return [r.path for r in self.requests if r.method == "GET" and not r.path.startswith("/api/")]

    def environment(self, home: Path) -> dict[str, str]:
        """What to set for a child process that is to talk to this hub and keep its caches in `home`."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}

    def use(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Point the hub client of this process here, and its caches to `home`."""
        use_endpoint(monkeypatch, self.url, home)


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    """Point the hub client of this process, which read its environment long ago, to `url`, and its caches to `home`."""
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@contextlib.contextmanager
def serve(repos: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve folders as repositories with the one revision `REVISION`, and their files as plain `/files/NAME/...`."""
    hub = Hub("", repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def entity_tag(path: Path) -> str:
    """The hub's entity tag of a file: sha256 if it is large, else git's blob id."""
    data = path.read_bytes()
    if len(data) >= LFS_BYTES:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        host = (self.headers["Host"] or "").partition(":")[0]
        authorization = self.headers["Authorization"]
        self.hub.requests.append(Request(self.command, path, host, authorization))
        if path.startswith(("/lfs/", "/files/")):  # where large files and other people's files are: no token is wanted
            rest = path.removeprefix("/lfs/").removeprefix("/files/")
            root = next(root for root in self.hub.repos if rest.startswith(f"{root}/"))
            if status := self.hub.take_fault(path, "status"):
                return self._refuse(int(status))
            return self._file(self.hub.repos[root] / rest.removeprefix(f"{root}/"), {})
        if status := self.hub.take_fault(path, "status"):
            if status == "gated":
                return self._refuse(403, "GatedRepo")
            return self._refuse(int(status))
        if self.hub.token is not None and authorization != f"Bearer {self.hub.token}":
            return self._refuse(401, "GatedRepo")
        if (repo := path.removeprefix("/api/models/")) in self.hub.repos:
            return self._json({"id": repo, "sha": REVISION})
        path = path.replace("/api/datasets/", "/api/models/datasets/")  # one place for both kinds of repository
        path = path.replace("/revision/main", f"/revision/{REVISION}")  # what `main` stands at
        kind, _, rest = path.removeprefix("/api/models/").lstrip("/").partition(f"/{REVISION}")
        if path.startswith("/api/models/"):
            repo, _, what = kind.rpartition("/")
        else:
            repo, what = kind.removesuffix("/resolve"), "resolve"
        if repo not in self.hub.repos and not any(
            path.removeprefix("/api/models").startswith(f"/{r}/") for r in self.hub.repos
        ):
            return self._refuse(404, "RepoNotFound")
        if repo not in self.hub.repos:
            return self._refuse(404, "RevisionNotFound")
        folder = self.hub.repos[repo]
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        if what == "revision":
            siblings = [_sibling(p, folder) for p in files]
            return self._json({"id": repo, "sha": REVISION, "siblings": siblings})
        if what == "tree":
            return self._json([_tree_entry(p, folder) for p in files])
        file = folder / rest.lstrip("/")
        if file not in files:
            return self._refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{entity_tag(file)}"'}
        if file.stat().st_size < LFS_BYTES:
            return self._file(file, headers)
        port = self.hub.url.rpartition(":")[2]
        headers |= {"X-Linked-Etag": f'"{entity_tag(file)}"', "X-Linked-Size": str(file.stat().st_size)}
        headers |= {"Location": f"http://localhost:{port}/lfs/{repo}{rest}", "Content-Length": "0"}
        return self._head(302, headers)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: int, code: str | None = None) -> None:
        self._head(status, {"Content-Length": "0"} | ({"X-Error-Code": code} if code else {}))

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _file(self, file: Path, headers: Mapping[str, str]) -> None:
        body = file.read_bytes()
        self._head(200, {**headers, "Content-Length": str(len(body))})
        if self.command == "HEAD":
            return
        fault = self.hub.take_fault(urlsplit(self.path).path, "body")
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault in ("drop", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "stall":
                self.hub.stalled.set()
                self.hub.released.wait(60)
            return
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


def _sibling(path: Path, root: Path) -> dict[str, Any]:
    entry = _tree_entry(path, root)
    sibling = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
    if "lfs" in entry:
        sibling["lfs"] = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 130}
    return sibling


def _tree_entry(path: Path, root: Path) -> dict[str, Any]:
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": path.relative_to(root).as_posix(), "size": len(data), "oid": blob}
    if len(data) >= LFS_BYTES:
        entry["lfs"] = {"oid": entity_tag(path), "size": len(data), "pointerSize": 130}
    return entry
