"""A small web server that stands in for GitHub: files and archives, whole, in part, or broken."""

import io
import tarfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "c0ffee" * 6 + "c0de"
REPOSITORY = "https://github.com/someone/corpus"


class Site:
    """What the server holds and what it was asked. ``troubles`` befall the next requests in turn.

    A trouble is a number: an HTTP status to answer with, or, below 0, bytes after which to hang up.
    """

    def __init__(self):
        self.files = {}
        self.troubles = []
        self.asked = []
        self.takes_ranges = True
        self.tells_length = True
        self.url = ""

    def put(self, path, content, repository="someone/corpus"):
        self.files[f"/{repository}/{COMMIT}/{path}"] = content

    def put_archive(self, members, repository="someone/corpus"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(f"corpus-{COMMIT}/{name}")
                member.size, member.mtime = len(content), 1234567
                archive.addfile(member, io.BytesIO(content))
        self.files[f"/{repository}/tar.gz/{COMMIT}"] = stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server.site
        asked = self.headers.get("Range", "")
        site.asked.append((self.path.rpartition("/")[2], asked))
        trouble = site.troubles.pop(0) if site.troubles else 0
        content = site.files.get(self.path)
        if trouble > 0 or content is None:
            self.answer(trouble or 404, b"no")
        elif asked and site.takes_ranges:
            self.answer_range(content, int(asked[len("bytes=") : -1]), -trouble)
        else:
            self.answer(200, content, -trouble)

    def answer_range(self, content, start, cut):
        if start >= len(content):
            self.answer(416, b"")
            return
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206, content[start:], cut, **{"Content-Range": place})

    def answer(self, status, content, cut=0, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.site.tells_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: cut or None])

    def log_message(self, *_):
        pass


@contextmanager
def serve(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.site = site
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
