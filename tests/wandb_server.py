"""As much of W&B's server as a run needs to be online, on a port of this machine.

It knows GraphQL's operations by name and answers what wandb 0.31 reads of each; history comes in through the file
stream, line by line; files that a run uploads are read and forgotten.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class OnlineRun:
    """What a run sent."""

    group: str | None
    job_type: str | None
    config: dict[str, Any]
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None

    def series(self, name: str) -> dict[int, Any]:
        """`{trainer/global_step: value}` of everything that was logged under `name`."""
        return {row["trainer/global_step"]: row[name] for row in self.history.values() if name in row}


@dataclass
class Server:
    url: str = ""
    runs: dict[str, OnlineRun] = field(default_factory=dict)

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of GraphQL's answer."""
        project = {"id": "p", "name": "project", "entity": {"id": "e", "name": "me"}}
        match operation:
            case "Viewer":
                return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
            case "RunResumeStatus":
                return {"model": {"id": "p", "name": "project", "entity": project["entity"], "bucket": None}}
            case "UpsertBucket":
                name, config = variables["name"], json.loads(variables["config"] or "{}")
                plain = {key: item["value"] for key, item in config.items()}
                run = self.runs.setdefault(name, OnlineRun(variables.get("groupName"), variables.get("jobType"), {}))
                run.config |= plain
                bucket = {"id": name, "name": name, "displayName": name, "config": "{}", "historyLineCount": 0}
                return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
            case "RunStoppedStatus":
                return {"project": {"run": {"stopped": False}}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": self._upload["uploadUrl"]} for name in variables["files"]]
                return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                sequence = {"id": "s", "latestArtifact": None}
                return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}
            case "CreateArtifactManifest":
                manifest = {"id": "m", "file": self._upload | {"id": "f"}}
                return {"createArtifactManifest": {"artifactManifest": manifest}}
            case "CreateArtifactFiles":
                node = self._upload | {"storagePath": "x", "uploadMultipartUrls": None, "artifact": {"id": "a"}}
                edges = [{"node": node} for _ in variables["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        return {}

    @property
    def _upload(self) -> dict[str, Any]:
        return {"uploadUrl": f"{self.url}/upload", "uploadHeaders": []}

    def stream(self, run_id: str, body: dict[str, Any]) -> None:
        """A part of a run's history, and how it ended."""
        run = self.runs[run_id]
        sent = (body.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            rows = [json.loads(line) for line in sent["content"]]
            run.history |= {sent["offset"] + index: row for index, row in enumerate(rows)}
        if body.get("complete"):
            run.exit_code = body["exitcode"]


@contextmanager
def serve() -> Iterator[Server]:
    """A server for as long as the context is open."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_PUT(self) -> None:
            self._body()
            self._reply({})

        def do_POST(self) -> None:
            body = self._body()
            if self.path == "/graphql":
                asked = json.loads(body)
                named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                self._reply({"data": server.answer(named.group(1) if named else "", asked.get("variables") or {})})
                return
            if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                server.stream(stream.group(1), json.loads(body))
            self._reply({})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                content = b"".join(parts)
            else:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

        def _reply(self, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # W&B's service hangs up when its run is over

    http = Listener(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
