"""The page in a real browser: it draws, links its charts, and asks for nothing."""

import base64
import re
import zlib

import pytest
from chromium import CHROMIUM, MISSING, browser
from ended_study import ARMS, PLAIN, begin, end

from playbook.report.charts.palette import INFEASIBLE
from playbook.report.study_report import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

DRAWN = "document.querySelectorAll('.plot canvas').length"
SCROLL = """(async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    scrollTo(0, y);
    await new Promise((done) => setTimeout(done, 60));
  }
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The reports of a plain study and of one with arms."""
    found = {}
    for design in (PLAIN, ARMS):
        folder = tmp_path_factory.mktemp(design.name) / design.name
        end(folder, design, begin(folder, design, 24))
        found[design.name] = report(folder)
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(tab):
    """Opens a page and waits until all of it is drawn."""
    tab.problems.clear()
    tab.requests.clear()

    def show(page, **window):
        tab.open(page, **window)
        tab.value(SCROLL)
        tab.until(f"{DRAWN} === document.querySelectorAll('.plot').length")
        return tab

    return show


@pytest.mark.parametrize(("name", "width", "dark"), [("plain", 1280, False), ("arms", 390, True)])
def test_every_chart_is_drawn_without_a_word_or_a_request(pages, shown, name, width, dark):
    page = shown(pages[name], width=width, dark=dark)
    assert page.problems == []
    assert {address for address in page.requests if not address.startswith(("file:", "data:", "blob:"))} == set()
    assert page.value("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways
    background = page.value("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark
    drawn = page.value(
        "[...document.querySelectorAll('.plot canvas')].map((each) => "
        "each.getContext('2d').getImageData(0, 0, each.width, each.height).data.some((byte) => byte !== 0))"
    )
    assert all(drawn)


def test_the_table_sorts_filters_and_shows_more(pages, shown):
    page = shown(pages["plain"])
    assert page.value("document.querySelectorAll('tbody tr').length") == 24
    objectives = "[...document.querySelectorAll('tbody tr')].map((row) => row.children[1].textContent)"
    values = [float(text) for text in page.value(objectives) if text]
    assert values == sorted(values)
    page.value("document.querySelectorAll('th button')[1].click()")
    assert [float(text) for text in page.value(objectives) if text] == sorted(values, reverse=True)
    assert page.value("document.querySelectorAll('th')[1].getAttribute('aria-sort')") == "descending"
    page.value(
        "(() => { const box = document.getElementById('filter'); box.value = 'infeasible';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    assert page.value("document.querySelectorAll('tbody tr').length") == 24 - len(values)


def test_a_brush_highlights_its_trials_everywhere_and_clear_ends_it(pages, shown):
    page = shown(pages["plain"])
    page.value("document.getElementById('axes').scrollIntoView()")
    box = page.value(
        "(() => { const b = document.querySelector('#axes canvas').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    left, top, width, height = box
    page.drag((left + 0.3 * width, top + 0.15 * height), (left + 0.6 * width, top + 0.8 * height))
    page.until("document.getElementById('selected').textContent.includes('highlighted')")
    trials = set(page.value("[...document.querySelectorAll('tbody .link')].map((each) => Number(each.textContent))"))
    assert 0 < len(trials) < 24
    for number in page.value("data.charts.flatMap((chart, place) => chart.trials_at ? [place] : [])"):
        assert set(map(int, page.value(f"Object.keys(views.get({number}).signal('picked'))"))) == trials
    page.value("document.getElementById('clear').click()")
    assert page.value("document.getElementById('selection').hidden")
    assert page.value("document.querySelectorAll('tbody tr').length") == 24
    assert page.problems == []


def test_a_chosen_trial_shows_its_curves_and_its_command(pages, shown):
    page = shown(pages["plain"])
    drawn = "curveRows(data.families[0]).filter((row) => row.who === 'selected').map((row) => row.trial)"
    assert page.value(drawn) == []
    page.value("[...document.querySelectorAll('tbody .link')].at(-3).click()")
    trial = page.value("state.chosen")
    assert set(page.value(drawn)) == {trial}
    assert page.value("document.getElementById('selected').textContent").startswith(f"trial {trial}:")
    assert page.value("byNumber.get(state.chosen).command").startswith("python train.py data=digits lr=")
    assert page.value("document.querySelector('tbody tr.chosen .link').textContent") == str(trial)


def test_what_failed_is_in_the_table_as_on_the_charts(pages, shown):
    page = shown(pages["arms"])  # all of its trials rose or diverged
    failed = page.value("trials.filter((row) => row.kind === 'infeasible').length")
    page.value(
        "(() => { const box = document.getElementById('filter'); box.value = 'infeasible';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    assert page.value("document.querySelectorAll('#table tbody tr').length") == failed > 0


@pytest.mark.parametrize("dark", [False, True])
def test_all_of_it_is_printed_though_nothing_was_in_view(pages, tab, dark):
    tab.open(pages["plain"], height=300, dark=dark)
    assert tab.value("document.querySelectorAll('.plot canvas, .plot svg').length") < tab.value("plots.length")
    # This listener comes after the page's own, and before the page is laid out for paper.
    tab.value(
        "addEventListener('beforeprint', () => { window.onPaper = plots.map((each) => "
        "each.querySelectorAll('svg path').length); window.closed = "
        "document.querySelectorAll('details.more:not([open])').length; })"
    )
    pdf = base64.b64decode(tab._call("Page.printToPDF")["data"])
    assert all(count > 0 for count in tab.value("onPaper"))
    assert tab.value("closed") == 0
    # In the PDF itself there is the red of the crosses.
    found = re.findall(rb"FlateDecode.*?stream\r?\n(.*?)endstream", pdf, re.S)
    drawing = b"".join(map(zlib.decompress, found)).decode("latin-1")
    strokes = re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) RG", drawing)
    assert INFEASIBLE in {"#" + "".join(f"{round(255 * float(part)):02x}" for part in colour) for colour in strokes}
    tab.until("document.querySelectorAll('.plot svg').length === 0")
    assert tab.problems == []
