"""The page in a browser: Debian's chromium without a window, driven by selenium."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from hideseek.report.page import build_page
from tests.report.sample_chapters import ATTACK, MODELS, REPRESENTATIONS, sample_chapters

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
    "disable-background-networking", "disable-component-update", "disable-sync",
    "disable-dev-shm-usage",
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason="needs Debian's browser: apt-get install chromium chromium-driver",
)

CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(build_page(sample_chapters(), f"Report: {ATTACK}", ["300 test images", ATTACK]))
    return path.as_uri()


@pytest.fixture
def page(chromium, address):
    """The page, light, 1280 pixels wide; it must not have complained at the end."""
    size(chromium, 1280, 800)
    colours(chromium, "light")
    chromium.get(address)
    yield chromium
    assert chromium.get_log("browser") == []


def size(driver, width: int, height: int) -> None:
    given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)


def colours(driver, scheme: str, media: str = "screen") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    given = {"media": media, "features": features}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", given)


def column(driver, table: int, number: int) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll('.sheet table')[arguments[0]].tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => row.cells[arguments[1]].textContent)",
        table,
        number,
    )


def press_heading(driver, table: int, number: int, key: str = Keys.ENTER) -> str | None:
    sheet = driver.find_elements(By.CSS_SELECTOR, ".sheet table")[table]
    heading = sheet.find_elements(By.CSS_SELECTOR, "thead th")[number]
    heading.find_element(By.TAG_NAME, "button").send_keys(key)
    return heading.get_attribute("aria-sort")


def shown(driver, selector: str) -> int:
    return sum(item.is_displayed() for item in driver.find_elements(By.CSS_SELECTOR, selector))


def test_numbers_sort_as_numbers_and_missing_ones_stay_last(page):
    assert press_heading(page, 0, 2) == "ascending"
    seeds = column(page, 0, 2)
    assert seeds == ["9"] * 7 + ["10"] * 28
    assert press_heading(page, 0, 2, Keys.SPACE) == "descending"
    assert column(page, 0, 2) == seeds[::-1]
    assert press_heading(page, 0, 3) == "ascending"
    rising = column(page, 0, 3)
    press_heading(page, 0, 3)
    falling = column(page, 0, 3)
    assert rising[-5:] == falling[-5:] == ["n/a"] * 5
    assert rising[:-5] == falling[:-5][::-1] == sorted(rising[:-5], key=float)
    assert len(page.find_elements(By.CSS_SELECTOR, "#chapter-scores [aria-sort]")) == 1


def test_small_and_negative_numbers_sort_by_what_they_are(page):
    press_heading(page, 0, 4)
    minus = [text.replace("−", "-") for text in column(page, 0, 4)]  # noqa: RUF001
    assert minus == sorted(minus, key=float)
    assert minus[0].startswith("-")
    press_heading(page, 0, 5)
    assert column(page, 0, 5)[0] == "<0.0001"


def test_words_sort_as_people_count(page):
    press_heading(page, 1, 0)
    assert column(page, 1, 0) == [ATTACK, "img9", "img10"]


def test_the_filter_leaves_rows_pictures_and_cards_of_one_network(page):
    models, representations = (Select(each) for each in page.find_elements(By.TAG_NAME, "select"))
    assert [option.text for option in models.options] == ["all", *MODELS]
    assert [option.text for option in representations.options] == ["all", *REPRESENTATIONS]
    status = page.find_element(By.ID, "shown")
    assert status.get_attribute("role") == "status"
    assert status.text == "35 of 35 rows, 4 of 4 figures, 5 of 5 cards shown"
    models.select_by_visible_text("alexnet")
    assert status.text == "model alexnet: 7 of 35 rows, 2 of 4 figures, 1 of 5 cards shown"
    assert set(column(page, 0, 0)) == {"alexnet"}
    assert (shown(page, ".plate"), shown(page, ".card")) == (4, 1)
    representations.select_by_visible_text("original")
    assert column(page, 0, 1) == ["original"]
    assert shown(page, ".plate") == 3  # two of them are about no network
    assert len(column(page, 1, 0)) == 3  # a table without such columns is left alone
    models.select_by_visible_text(ATTACK)
    assert column(page, 0, 0) == [ATTACK]
    press_heading(page, 0, 3)
    assert column(page, 0, 0) == [ATTACK]
    models.select_by_visible_text("all")
    representations.select_by_visible_text("all")
    assert len(column(page, 0, 0)) == 35


def test_a_figure_grows_and_shrinks_by_keyboard(page):
    buttons = page.find_elements(By.CSS_SELECTOR, ".plate button")
    buttons[1].send_keys(Keys.ENTER)
    dialog = page.find_element(By.ID, "enlarged")
    assert dialog.is_displayed()
    large = dialog.find_element(By.TAG_NAME, "img")
    small = [button.find_element(By.TAG_NAME, "img") for button in buttons]
    for key, at in (("", 1), (Keys.ARROW_RIGHT, 2), (Keys.ARROW_LEFT, 1), (Keys.ARROW_LEFT, 0),
                    (Keys.ARROW_LEFT, 5)):  # fmt: skip
        page.switch_to.active_element.send_keys(key)
        assert large.get_attribute("src") == small[at].get_attribute("src")
        assert large.get_attribute("alt") == small[at].get_attribute("alt")
        assert dialog.find_element(By.ID, "place").text == f"{at + 1} of 6"
    assert dialog.find_element(By.ID, "legend").text == f"Figure 6. A photograph {ATTACK}."
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element == buttons[1]


def test_a_tall_figure_is_wide_enough_to_be_read(page):
    page.find_elements(By.CSS_SELECTOR, ".plate button")[-2].send_keys(Keys.ENTER)
    large = page.find_element(By.CSS_SELECTOR, ".stage img")
    natural = page.execute_script("return arguments[0].naturalWidth", large)
    assert large.rect["width"] == min(natural, 768)
    stage = page.find_element(By.CSS_SELECTOR, ".stage")
    assert page.execute_script(
        "return arguments[0].scrollHeight > arguments[0].clientHeight", stage
    )


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_does_not_scroll_sideways(page, width):
    size(page, width, 740)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script("return innerWidth") == width
    regions = page.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(region.get_attribute("tabindex") == "0" for region in regions)
    wider = "return arguments[0].scrollWidth > arguments[0].clientWidth"
    assert page.execute_script(wider, regions[2])  # the wide table scrolls in its own place
    box = regions[2].rect
    assert box["x"] + box["width"] <= width


def test_the_verdicts_fit_one_screen(page):
    last = page.find_elements(By.CSS_SELECTOR, ".card")[-1].rect
    assert last["y"] + last["height"] < 800


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    colours(page, scheme)
    measured = page.execute_script(CONTRAST)
    assert len(measured) > 300
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert [found for found in measured if found["ratio"] < 4.5] == []


def test_the_button_changes_the_theme(page):
    button = page.find_element(By.ID, "theme")
    grounds = []
    for _ in range(3):
        style = "return getComputedStyle(document.body).backgroundColor"
        grounds.append((page.execute_script(style), button.get_attribute("aria-pressed")))
        button.send_keys(Keys.ENTER)
    light, dark = ("rgb(255, 255, 255)", "false"), ("rgb(22, 22, 22)", "true")
    assert grounds == [light, dark, light]
    assert [found for found in page.execute_script(CONTRAST) if found["ratio"] < 4.5] == []


def test_who_cannot_see_it_finds_the_way(page):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = page.switch_to.active_element
    assert skip.get_attribute("class") == "skip"
    assert skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "main"
    assert page.find_elements(By.CSS_SELECTOR, "img:not([alt])") == []
    for tag in ("header", "nav", "main", "footer"):
        assert len(page.find_elements(By.CSS_SELECTOR, f"body {tag}")) == 1
    for button in page.find_elements(By.TAG_NAME, "button"):
        assert button.accessible_name or not button.is_displayed()
    for region in page.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert region.accessible_name.startswith("Table ")


def test_names_stay_text(page):
    assert page.execute_script("return document.scripts.length") == 1
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.find_element(By.TAG_NAME, "h1").text == f"Report: {ATTACK}"
    assert ATTACK in column(page, 0, 0)
    figure = page.find_elements(By.CSS_SELECTOR, ".plate")[-1]
    assert ATTACK in figure.text


def test_a_script_that_came_in_would_not_run(chromium, address, tmp_path):
    whole = build_page(sample_chapters()[:1], "a title")
    attack = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    (tmp_path / "bad.html").write_text(whole.replace("</main>", f"{attack}</main>"))
    chromium.get((tmp_path / "bad.html").as_uri())
    assert chromium.execute_script("return document.scripts.length") == 2
    later = "setTimeout(() => arguments[0](window.ran), 300)"
    assert chromium.execute_async_script(later) is None
    refused = [entry["message"] for entry in chromium.get_log("browser")]
    assert len(refused) >= 2
    assert all("Content Security Policy" in message for message in refused)
    chromium.get(address)
    chromium.get_log("browser")


def test_it_prints_on_several_pages_with_nothing_cut(page):
    Select(page.find_elements(By.TAG_NAME, "select")[0]).select_by_visible_text("resnet50")
    for selector, width in ((".sheet:not(.wide)", 688), (".wide", 1031)):  # A4 less its margins
        size(page, width, 900)
        colours(page, "dark", "print")
        for sheet in page.find_elements(By.CSS_SELECTOR, selector):
            region = sheet.find_element(By.CSS_SELECTOR, ".scroll")
            sizes = "const r = arguments[0]; return [r.scrollWidth, r.clientWidth, r.scrollHeight, \
                r.clientHeight]"
            inside_x, x, inside_y, y = page.execute_script(sizes, region)
            assert inside_x <= x <= width
            assert inside_y <= y
    assert shown(page, "nav, select, #theme, .files, .skip") == 0
    assert page.find_element(By.ID, "shown").text.startswith("model resnet50: 7 of 35 rows")
    assert [found for found in page.execute_script(CONTRAST) if found["ratio"] < 4.5] == []
    printed = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    assert pdf[:5] == b"%PDF-"
    assert len(re.findall(rb"/Type /Page\b", pdf)) > 3
