"""A headless Chromium, driven over chromedriver's HTTP interface (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


class Browser:
    """One session; its profile is a folder of its own."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
            pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.driver.stdout is not None
        self.at = ""
        for line in self.driver.stdout:
            if "on port " in line and "success" in line:
                port = line.rsplit("on port ", 1)[1].strip(" .\n")
                self.at = f"http://127.0.0.1:{int(port)}"
                break
        assert self.at, "chromedriver tells no port"
        args = [*FLAGS.split(), f"--user-data-dir={folder}", "--window-size=1200,900"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        try:
            made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._stop()
            raise
        self.session = f"/session/{made['sessionId']}"

    def open(self, path: Path) -> None:
        self.log("performance")
        self._ask("POST", f"{self.session}/url", {"url": path.as_uri()})

    def run(self, script: str, *args: Any) -> Any:
        """What a script in the page returns."""
        return self._ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(args)})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Since the last call: `browser` is the console, `performance` what the page asked for."""
        return list(self._ask("POST", f"{self.session}/se/log", {"type": kind}))

    def requested(self) -> list[str]:
        """The addresses that the page itself asked for and that were not blocked."""
        told = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        params = [one["params"] for one in told if one["method"] == "Network.requestWillBeSent"]
        blocked = {one["params"]["requestId"] for one in told if one["params"].get("blockedReason")}
        mine = [one for one in params if one["documentURL"].startswith("file:") and one["requestId"] not in blocked]
        return [one["request"]["url"] for one in mine]

    @contextmanager
    def emulated(self, command: str, **how: Any) -> Iterator[None]:
        """With a DevTools command of the domain Emulation, and without it afterwards."""
        self._ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": how})
        try:
            yield
        finally:
            undone = {
                "Emulation.setDeviceMetricsOverride": ("Emulation.clearDeviceMetricsOverride", {}),
                "Emulation.setEmulatedMedia": ("Emulation.setEmulatedMedia", {"media": "", "features": []}),
            }
            name, params = undone[command]
            self._ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": name, "params": params})

    def wait(self, script: str, seconds: float = 5.0) -> Any:
        """Until the script returns something true."""
        until = time.monotonic() + seconds
        while not (found := self.run(script)) and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.at + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode(errors="replace")) from None

    def _stop(self) -> None:
        self.driver.terminate()
        self.driver.wait(10)
        if self.driver.stdout is not None:
            self.driver.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("DELETE", self.session)
        finally:
            self._stop()
