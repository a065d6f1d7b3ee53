"""A real time stamp authority: `openssl ts` behind a small HTTP server."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLICY = "1.3.6.1.4.1.99999.1"
# `certs` is left out: the response then has the whole chain, and no certificate twice.
_CONFIGURATION = """
[tsa]
default_tsa = it
[it]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.crt
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = {policy}
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimeStampAuthority:
    """Listens once it is made. `root` is the certificate (PEM) to trust; `broken` makes it answer with nonsense."""

    def __init__(self, folder: Path, policy: str = POLICY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.root, self.broken = folder, folder / "root.crt", False
        self._make(policy)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["content-length"]))
                answer = b"no stamp" if outer.broken else outer.stamp(asked)
                self.send_response(200)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a gateway that is being stopped does not wait for it
                    self.wfile.write(answer)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as above
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/tsa"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stamp(self, request: bytes) -> bytes:
        """The DER response to a DER request."""
        query, reply = self.folder / "query.tsq", self.folder / "reply.tsr"
        query.write_bytes(request)
        self._openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", query.name, "-out", reply.name)
        return reply.read_bytes()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make(self, policy: str) -> None:
        (self.folder / "tsa.cnf").write_text(_CONFIGURATION.format(folder=self.folder, policy=policy))
        (self.folder / "serial").write_text("01\n")
        (self.folder / "extensions").write_text("extendedKeyUsage=critical,timeStamping\nbasicConstraints=critical,CA:false\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._openssl("req", "-x509", *curve, "-keyout", "root.key", "-out", "root.crt", "-subj", "/CN=Root", "-days", "30")
        self._openssl("req", *curve, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Test time stamp authority")
        self._openssl(
            "x509", "-req", "-in", "tsa.csr", "-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial", "-out", "tsa.crt",
            "-days", "30", "-extfile", "extensions",
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
