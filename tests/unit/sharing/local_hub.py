"""A small server that answers as the Hugging Face hub does, for the calls of a client that pushes and pulls.

Weights travel as large files (LFS, with a redirect), all else within the commit. Every commit stays readable.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_local"


class LocalHub:
    """What the server holds.

    Attributes:
        commits: Files by path of every commit, by repository (`models/USER/NAME`) and commit, oldest first.
        large: Large files by SHA-256.
        calls: Method and path of every request.
        tamper: Replaces what is sent of a file, by path.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.large: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.private: dict[str, bool] = {}
        self.tamper: dict[str, bytes] = {}
        self.url = ""

    def add(self, repository: str, files: dict[str, bytes]) -> str:
        """Make a commit of these files alone, and return its id."""
        kept = self.commits.setdefault(repository, {})
        commit = hashlib.sha1(f"{repository} {len(kept)}".encode()).hexdigest()
        kept[commit] = files
        return commit

    def at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """Commit and files of a revision; KeyError names the hub's code of the error."""
        if repository not in self.commits:
            raise KeyError("RepoNotFound")
        kept = self.commits[repository]
        commit = list(kept)[-1] if revision == "main" else revision
        if commit not in kept:
            raise KeyError("RevisionNotFound")
        return commit, kept[commit]


def entry(path: str, data: bytes) -> dict[str, object]:
    """A file as the tree of a commit lists it."""
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    found: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(".safetensors"):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `hub` is set by `local_hub`."""

    hub: LocalHub

    def log_message(self, *_: object) -> None:
        """Keep still."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.calls.append(f"{self.command} /{path}")
        body = self._body()
        writes = self.command in ("POST", "PUT") and not path.startswith("lfs/")
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, b'{"error": "Invalid username or password."}')
            return
        try:
            self._route(path, body)
        except KeyError as error:
            self._answer(404, b'{"error": "not found"}', X_Error_Code=str(error.args[0]))

    def __getattr__(self, name: str) -> object:
        if name in ("do_GET", "do_HEAD", "do_POST", "do_PUT"):
            return self._serve
        raise AttributeError(name)

    def _route(self, path: str, body: bytes) -> None:
        match path.split("/"):
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                head = json.loads(body)["content"].split("---")[1]
                faults = [] if "license: " in head else [{"message": "license is missing"}]
                self._json({"errors": faults, "warnings": []}, 400 if faults else 200)
            case ["api", kind, user, name, "preupload", _]:
                files = json.loads(body)["files"]
                modes = [("lfs" if file["path"].endswith(".safetensors") else "regular") for file in files]
                pairs = zip(files, modes, strict=True)
                self._json({"files": [{**file, "uploadMode": mode, "shouldIgnore": False} for file, mode in pairs]})
            case ["api", kind, user, name, "commit", "main"]:
                self._commit(f"{kind}/{user}/{name}", [json.loads(line) for line in body.splitlines()])
            case ["api", kind, user, name, "tree", revision]:
                files = self.hub.at(f"{kind}/{user}/{name}", revision)[1]
                self._json([entry(*item) for item in files.items()])
            case ["api", kind, user, name, *rest] if not rest or rest[0] == "revision":
                commit = self.hub.at(f"{kind}/{user}/{name}", "/".join(rest[1:]) or "main")[0]
                self._json({"id": f"{user}/{name}", "sha": commit, "siblings": [], "private": False, "tags": []})
            case [*_, "info", "lfs", "objects", "batch"]:
                wanted = json.loads(body)["objects"]
                found = [{**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}} for o in wanted]
                self._json({"transfer": "basic", "objects": found})
            case ["lfs", digest] if self.command == "PUT":
                assert hashlib.sha256(body).hexdigest() == digest
                self.hub.large[digest] = body
                self._answer(200)
            case ["lfs", digest]:
                self._answer(200, self.hub.large[digest])
            case ["datasets", user, name, "resolve", revision, *rest]:
                self._resolve(f"datasets/{user}/{name}", revision, "/".join(rest))
            case [user, name, "resolve", revision, *rest]:
                self._resolve(f"models/{user}/{name}", revision, "/".join(rest))
            case _:
                raise KeyError("EntryNotFound")

    def _create(self, wanted: dict[str, str]) -> None:
        kind = wanted.get("type", "model")
        name = f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if f"{kind}s/{name}" in self.hub.commits:
            self._json({"error": "You already created this repo", "url": url}, 409)
            return
        self.hub.private[f"{kind}s/{name}"] = wanted.get("visibility") == "private"
        self.hub.add(f"{kind}s/{name}", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json({"url": url, "id": name})

    def _commit(self, repository: str, lines: list[dict[str, dict[str, str]]]) -> None:
        files = dict(self.hub.at(repository, "main")[1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.add(repository, files)
        self._json({"commitUrl": f"{self.hub.url}/{repository}/commit/{commit}", "commitOid": commit})

    def _resolve(self, repository: str, revision: str, path: str) -> None:
        commit, files = self.hub.at(repository, revision)
        listed = entry(path, files[path])
        data = self.hub.tamper.get(path, files[path])
        if "lfs" in listed:
            digest = hashlib.sha256(files[path]).hexdigest()
            self.hub.large[digest] = data
            linked = {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(data))}
            # Large files come from another host, whose own headers the client does not ask for.
            place = self.hub.url.replace("127.0.0.1", "localhost")
            self._answer(302, Location=f"{place}/lfs/{digest}", X_Repo_Commit=commit, **linked)
        else:
            self._answer(200, data, X_Repo_Commit=commit, ETag=f'"{listed["oid"]}"')


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run the server on a free port of this machine."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
