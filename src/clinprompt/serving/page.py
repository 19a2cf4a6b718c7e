"""Serve the files of the workbench, a page in the browser that shows answers on notes.

The files hold no secret, so they need no token; what the page asks for does. All files are read
once, so that no path of a request ever reaches the disk.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from clinprompt.serving.access import PAGE, Refused

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> APIRouter:
    """Return the routes of the page and its files."""
    router = APIRouter(tags=["page"])
    contents = _contents()

    def answer(name: str) -> Response:
        return Response(contents[name], headers=_HEADERS, media_type=_TYPES[PurePath(name).suffix])

    @router.get(PAGE, include_in_schema=False)
    def without_slash() -> Response:
        """Send to the page, whose files are named relative to it."""
        return RedirectResponse(f"{PAGE}/", headers=_HEADERS)

    @router.get(f"{PAGE}/", response_class=HTMLResponse)
    def page() -> Response:
        """Show notes with their answers in the browser (no token needed; the page asks for it)."""
        return answer("index.html")

    @router.get(f"{PAGE}/{{name}}", include_in_schema=False)
    def file(name: str) -> Response:
        """Return a file of the page."""
        if name not in contents:
            raise Refused(404, "unknown_file", "the page has no such file")
        return answer(name)

    return router


def _contents() -> Mapping[str, bytes]:
    """Return the content of each file of the page, by the file's name."""
    folder = files("clinprompt.serving").joinpath("workbench")
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if PurePath(file.name).suffix in _TYPES
    }
