"""`/`: the first page, whole in one answer: it loads nothing, and its policy lets nothing else run."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()
FOLDER = files("avrec.serving") / "page"
STYLE = "page.css"
SCRIPTS = ("ask.js", "make.js", "why.js", "shelf.js", "detail.js", "ranks.js", "upload.js", "who.js", "main.js")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """The page; whatever it shows, it asks for by the other paths, with the key where there is one."""
    html, policy = assembled()
    return HTMLResponse(html, headers=HEADERS | {"Content-Security-Policy": policy})


@cache
def assembled() -> tuple[str, str]:
    """The page with its style and scripts inside, and the policy that names them by their hashes."""
    html = _text("page.html")
    style, scripts = _text(STYLE), [_text(name) for name in SCRIPTS]
    html = html.replace("<!-- style -->", f"<style>{style}</style>")
    html = html.replace("<!-- scripts -->", "\n".join(f"<script>{script}</script>" for script in scripts))
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_hash, scripts)),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "media-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return html, "; ".join(f"{name} {value}" for name, value in policy.items())


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
