"""TLS before a server that speaks plain HTTP, for clients that insist on it. The certificate is made on the spot by `openssl`."""
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 30


class TlsFront:
    """Within the `with`, `url` answers as the server at `target` does, and `certificate` is what vouches for it."""

    def __init__(self, target):
        self.target = (urlsplit(target).hostname, urlsplit(target).port)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        key, self.certificate = Path(self.folder.name) / "key.pem", str(Path(self.folder.name) / "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", self.certificate,
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, timeout=PATIENCE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, args=(context,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.folder.cleanup()

    def _accept(self, context):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(context, plain), daemon=True).start()

    def _relay(self, context, plain):
        plain.settimeout(PATIENCE)
        try:
            with context.wrap_socket(plain, server_side=True) as client, socket.create_connection(self.target, PATIENCE) as server:
                answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
                answers.start()
                _copy(client, server)
                answers.join(PATIENCE)
        except OSError:
            pass  # a client that left


def _copy(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side is gone
