"""A headless Chromium, driven over its own protocol through a pipe: real clicks and keys, no third-party driver."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required", "--mute-audio",
    "--remote-debugging-pipe",
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)  # fmt: skip
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " "), "Home": (36, ""), "End": (35, "")}
KEYS |= {"ArrowLeft": (37, ""), "ArrowUp": (38, ""), "ArrowRight": (39, ""), "ArrowDown": (40, "")}
UNTIL = """new Promise((done, failed) => {{
  const end = performance.now() + {milliseconds};
  (function look() {{
    let found;
    try {{ found = {expression}; }} catch (error) {{ found = null; }}
    if (found) done(found); else if (performance.now() > end) failed(new Error("it never came true"));
    else setTimeout(look, 30);
  }})();
}})"""
PLACE = """(() => {{
  const found = {element};
  if (!found) return null;
  found.scrollIntoView({{block: "center", inline: "center", behavior: "instant"}});
  const box = found.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
  const hit = document.elementFromPoint(x, y);
  return {{x, y, hit: found.contains(hit), over: hit && hit.outerHTML.slice(0, 100)}};
}})()"""


def installed() -> str | None:
    """The browser's program, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page.

    Attributes:
        complaints: errors that the console showed, policy violations and uncaught exceptions among them.
        requests: addresses that the page asked for.
    """

    def __init__(self, program: str, profile: Path) -> None:
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_read, from_write)]
        os.close(to_read)
        os.close(from_write)

        def place() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self._process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=place, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in theirs:
            os.close(end)
        self._write, self._read = os.fdopen(to_write, "wb", buffering=0), os.fdopen(from_read, "rb")
        self._number, self._session, self._rest = 0, None, b""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._write.close()
        self._process.kill()
        self._process.wait()
        self._read.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found)
                return found["result"]
            self._noted(found)

    def _message(self) -> Any:
        while b"\0" not in self._rest:
            part = os.read(self._read.fileno(), 1 << 20)
            assert part, "the browser has gone"
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        return json.loads(text)

    def _noted(self, event: Any) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(given["exceptionDetails"])[:600])
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(given["args"])[:600])
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])

    def show(self, width: int, height: int, dark: bool = False, calm: bool = False, touch: bool = False) -> None:
        """Set the window and what the visitor prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        wishes = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if calm else "",
        }
        self.call(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": wish} for name, wish in wishes.items()]
        )

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression (or its promise) is worth in the page, as JSON."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, (expression, json.dumps(found["exceptionDetails"])[:600])
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 10) -> Any:
        """Wait for an expression to become true."""
        try:
            return self.value(UNTIL.format(expression=expression, milliseconds=1000 * seconds))
        except AssertionError as error:
            raise AssertionError(f"{expression}\ncomplaints: {self.complaints}") from error

    def click(self, element: str) -> None:
        """Press and release the mouse in the middle of an element: a CSS selector, or an expression in parentheses."""
        found = element if element.startswith("(") else f"document.querySelector({json.dumps(element)})"
        place = self.value(PLACE.format(element=found))
        assert place, f"there is no {element}"
        assert place["hit"], f"{element} lies under {place['over']}"
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=place["x"], y=place["y"], buttons=buttons, clickCount=1,
                button="none" if kind == "mouseMoved" else "left",
            )  # fmt: skip

    def press(self, key: str, times: int = 1, shift: bool = False) -> None:
        code, text = KEYS[key]
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key,
                    windowsVirtualKeyCode=code, modifiers=8 * shift, text=text if kind == "keyDown" else "",
                )  # fmt: skip

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path, whole: bool = False) -> None:
        """A screenshot, of the window or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._whole(whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def _whole(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


Opened = Callable[..., Browser]
