"""A headless Chromium through chromedriver's WebDriver protocol: for the tests, with nothing beyond Python's own library."""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


class NoBrowser(Exception):
    """Why there is none."""


class Browser:
    def __init__(self):
        chrome = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
        driver = shutil.which("chromedriver")
        if not chrome or not driver:
            missing = " and ".join(name for name, there in (("chromium", chrome), ("chromedriver", driver)) if not there)
            raise NoBrowser(f"no {missing} (packages chromium and chromium-driver)")
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.log = pathlib.Path(self.folder.name) / "chromedriver.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=subprocess.STDOUT)
        self.url = self.session = None
        try:
            self.url = f"http://127.0.0.1:{self._port()}"
            arguments = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--no-first-run",
                         f"--user-data-dir={self.folder.name}/profile"]
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                arguments.append("--no-sandbox")  # Chromium starts no sandbox as root
            made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"binary": chrome, "args": arguments}, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
            self.session = f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _port(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"successfully on port (\d+)", self.log.read_text(errors="replace"))
            if found:
                return int(found[1])
            time.sleep(0.05)
        raise RuntimeError("chromedriver did not start")

    def _send(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"},
                                         method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine, whatever proxies there are
        try:
            with opener.open(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {json.load(error)['value']['message'][:600]}") from None

    def command(self, name, **parameters):
        """One command of Chromium's own protocol."""
        return self._send("POST", f"{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def run(self, script, *arguments):
        """The value that a JavaScript function's body returns."""
        return self._send("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def logged(self, kind):
        return self._send("POST", f"{self.session}/se/log", {"type": kind})

    def view(self, width, height=900, dark=False, scripts=True, media="screen"):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.command("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, path, wait=True):
        """Opens a file, and waits until its charts are drawn."""
        self.logged("browser"), self.logged("performance")  # what was before
        self._send("POST", f"{self.session}/url", {"url": pathlib.Path(path).resolve().as_uri()})
        deadline = time.monotonic() + 120
        while wait and not self.run("return document.documentElement.dataset.ready === '1'"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{path}: not drawn after 120 s")
            time.sleep(0.1)

    def requests(self):
        """Addresses that were asked for since open(), the page itself among them."""
        found = []
        for entry in self.logged("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def picture(self, path, whole=True):
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        try:
            if self.session:
                self._send("DELETE", self.session)
        except (OSError, RuntimeError):
            pass
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
