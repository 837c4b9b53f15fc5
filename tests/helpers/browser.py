"""A headless Chromium that is asked by its DevTools protocol, over a pipe: no port, no driver, no package."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio")


class Browser:
    """One page at a time; `said` holds what its console, its errors and failed loads said since it was opened."""

    def __init__(self, profile: Path):
        ours, theirs = os.pipe(), os.pipe()  # it reads commands at 3 and writes answers at 4
        flags = [*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        script = f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", CHROMIUM, *flags], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.commands, self.answers = os.fdopen(ours[1], "wb", buffering=0), os.fdopen(theirs[0], "rb")
        self.number, self.left, self.said, self.asked_for = 0, b"", [], []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        self.said, self.asked_for = [], []
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.absolute().as_uri())
        loaded = "document.readyState === 'complete' ? done() : addEventListener('load', () => done())"
        self.ask(f"new Promise(done => {loaded})")

    def ask(self, expression: str):
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def drag(self, *points: tuple[float, float]) -> None:
        """The pointer goes to the first point, is pressed, moved over the others, and let go."""
        kinds = ["mouseMoved", "mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [points[0], *points, points[-1]], strict=True):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def picture(self, file: Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def call(self, method: str, **parameters):
        return self._call(method, sessionId=self.session, **parameters)

    def _call(self, method: str, sessionId: str | None = None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.commands.write(json.dumps(message | ({"sessionId": sessionId} if sessionId else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self._heard(answer)

    def _next(self) -> dict:
        while b"\0" not in self.left:
            part = self.answers.read1(1 << 16)
            assert part, "the browser has ended"
            self.left += part
        message, self.left = self.left.split(b"\0", 1)
        return json.loads(message)

    def _heard(self, event: dict) -> None:
        parameters = event.get("params", {})
        if event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(json.dumps(parameters))
        if event.get("method") == "Page.javascriptDialogOpening":  # or the page waits for ever
            self.said.append(json.dumps(parameters))
            closing = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self.commands.write(json.dumps(closing | {"sessionId": self.session}).encode() + b"\0")
        if event.get("method") == "Network.requestWillBeSent":
            self.asked_for.append(parameters["request"]["url"][:200])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.commands.close()
        self.answers.close()


def shown(browser: Browser, file: Path, width: int = 1400, dark: bool = False) -> str:
    """The page's text; it is whole by itself, says nothing on the console, and does not scroll sideways."""
    browser.open(file, width, dark=dark)
    assert browser.said == []
    assert [url for url in browser.asked_for if not url.startswith(("file:", "data:"))] == []
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    return browser.ask("document.body.innerText")
