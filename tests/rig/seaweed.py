"""A real S3 with Object Lock for the tests: SeaweedFS, one server for a run, and what obstore does not do (making buckets)."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import sysconfig
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.rig import shared

ID, KEY, REGION = "test-key", "test-secret", "us-east-1"
START: Final = 60.0  # seconds
LOCKED: Final = (
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>"
    b"<Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)


def _ports(count: int) -> list[int]:
    """Free ones below 55536: each has another 10,000 above it."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(25_000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
    return found


def _start(folder: Path) -> dict[str, object]:
    master, volume, filer, s3 = _ports(4)
    credentials = {"accessKey": ID, "secretKey": KEY}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [credentials], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    command: list[str | Path] = [
        weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
        f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
        "-volume.max=200", "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    shared.spawn("seaweed", command, log=folder / "log", ending="SIGKILL")  # asked politely, it takes a minute
    return {"url": f"http://127.0.0.1:{s3}"}


class Seaweed:
    """The run's server."""

    def __init__(self) -> None:
        self.url = str(shared.once("seaweed", _start)["url"])

    def call(self, method: str, path: str, query: str = "", body: bytes = b"", **more: str) -> int:
        """A request, signed as Amazon's Signature Version 4 wants it; the status."""
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "host": self.url.removeprefix("http://"), "x-amz-date": at,
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            **{name.replace("_", "-"): value for name, value in more.items()},
        }  # fmt: skip
        names = ";".join(sorted(headers))
        lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
        canonical = "\n".join([method, path, query, *lines, "", names, headers["x-amz-content-sha256"]])
        scope = f"{at[:8]}/{REGION}/s3/aws4_request"
        key = b"AWS4" + KEY.encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders={names}, Signature={signature}"
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        request = urllib.request.Request(url, data=body or None, method=method, headers=headers)  # noqa: S310 - of this machine
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def bucket(self, name: str) -> None:
        """A bucket in which nothing can be deleted or overwritten for a day, by anybody."""
        deadline = time.monotonic() + START
        while True:
            try:
                status = self.call("PUT", f"/{name}", x_amz_bucket_object_lock_enabled="true")
            except OSError:
                status = 0
            if status == 200:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start ({status})")
            time.sleep(0.2)
        assert self.call("PUT", f"/{name}", "object-lock=", LOCKED) == 200
