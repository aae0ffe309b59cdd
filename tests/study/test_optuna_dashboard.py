"""Optuna's dashboard shows a mirrored study in a browser."""

import html
import re
import shutil
import subprocess
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import pytest
from ended_study import ARMS, DIVERGES_FROM, begin, end

from playbook.study.optuna_mirror.database import database_url
from playbook.study.optuna_mirror.mirror import OptunaMirror

dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is missing: pip install -e '.[dev]'")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SECONDS_OF_SCRIPTS = 10
"""Of the browser's own clock, which runs ahead while it waits for nothing."""


class Silent(WSGIRequestHandler):
    """Does not print each request."""

    def log_message(self, *_args):
        pass


class Server(ThreadingMixIn, WSGIServer):
    """A browser opens connections ahead of need: a server of one thread would wait on them."""

    daemon_threads = True


@pytest.fixture
def site(tmp_path):
    """The address of a dashboard of a study with trials that completed, diverged, crashed and wait; its folder."""
    trials = begin(tmp_path, ARMS, 12)
    ended = end(tmp_path, ARMS, [*trials[:8], *trials[10:]], crashed={4: "no such kernel"})
    OptunaMirror(tmp_path, ARMS).add(ended)
    storage = optuna.storages.RDBStorage(database_url(tmp_path))
    server = make_server("127.0.0.1", 0, dashboard.wsgi(storage), Server, Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/dashboard"
    server.shutdown()
    thread.join()
    server.server_close()


def text_of(address, profile):
    """The lines of text on a page, after its scripts have run."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--dump-dom"),
        *(f"--user-data-dir={profile}", f"--virtual-time-budget={SECONDS_OF_SCRIPTS * 1000}", address),
    ]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    text = re.sub("<[^>]*>", "\n", re.sub("(?s)<(style|script).*?</\\1>", "", page))
    lines = html.unescape(text).splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.skipif(CHROMIUM is None, reason=f"no browser is here: none of {', '.join(BROWSERS)}")
def test_the_dashboard_shows_each_trial_as_it_ended(site, tmp_path):
    trials = ARMS.trials(12)
    infeasible = next(trial for trial in trials if trial.settings["lr"] > DIVERGES_FROM)
    lines = text_of(f"{site}/studies/1/trials?numbers={infeasible.number}", tmp_path / "profile")
    states = {line: lines[at + 1] for at, line in enumerate(lines) if re.fullmatch(r"Trial \d+", line)}
    others = {"Trial 4": "Fail", "Trial 8": "Waiting", "Trial 9": "Waiting"}
    assert states == {f"Trial {number}": "Complete" for number in range(12)} | others
    own = infeasible.settings
    shown = (f"lr [optimizer={own['optimizer']}] {own['lr']}", "-inf", "reason diverged")
    assert set(shown) <= set(lines)
