"""The page in a browser: keyboard, light and dark mode, text that looks like HTML."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving.servers import Server, serving

from kseq import Translator
from kseq.decoding import BeamSearch

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, "--beam", "3", "--max-source-length", "12") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # Debian's looks for updates otherwise, and root may have no sandbox.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(server: Server, browser: Any, request: Any) -> Iterator[Any]:
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    page.set_default_timeout(20_000)
    told: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda asked: elsewhere.append(asked.url))
    page.goto(f"http://127.0.0.1:{server.port}/")
    # The box has the focus: not one click is needed.
    page.wait_for_function(
        "document.hasFocus() && document.activeElement.id == 'source'"
    )
    yield page
    context.close()
    # A refusal is told by the page; the browser tells it too.
    assert [text for text in told if "status of 400" not in text] == []
    own = (f"http://127.0.0.1:{server.port}/", "data:")
    assert [url for url in elsewhere if not url.startswith(own)] == []


def output(page: Any) -> str:
    page.wait_for_function("!document.getElementById('go').disabled")
    return str(page.text_content("#output"))


def test_typing_and_enter_show_the_output_and_its_attention(
    page: Any, translator: Translator, tmp_path: Path
) -> None:
    page.keyboard.type("abc")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    (expected,) = translator.n_best(["abc"], return_attention=True)[0]
    assert output(page) == expected.text
    assert expected.attention is not None
    assert page.locator("#map tbody tr").count() == len(expected.attention)
    heads = page.locator("#map thead th").all_text_contents()
    assert heads == ["a", "b", "c", "</s>"]
    first = page.locator("#map tbody tr").first.locator("td")
    shown = [cell.get_attribute("aria-label") for cell in first.all()]
    assert shown == [f"{weight:.2f}" for weight in expected.attention[0]]
    assert page.locator("#n-best").is_hidden()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (sum(map(int, background[4:-1].split(","))) < 384) == dark
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 5000


def test_a_beam_lists_its_outputs_and_keys_choose_among_them(
    page: Any, translator: Translator
) -> None:
    page.keyboard.type("abcd")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # from greedy to beam
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button
    page.wait_for_selector("#n-best:not([hidden])")
    expected = translator.n_best(["abcd"], BeamSearch(beam_width=3, n=3))[0]
    assert output(page) == expected[0].text
    texts = page.locator("#outputs label").all_text_contents()
    assert [text.strip() for text in texts] == [each.text for each in expected]
    scores = page.locator("#outputs td.number:nth-child(2)").all_text_contents()
    assert [float(score) for score in scores] == pytest.approx(
        [each.score for each in expected], abs=1e-3
    )
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.text_content("#output") == expected[1].text


def test_text_is_never_interpreted_as_html(page: Any) -> None:
    page.fill("#source", "<b>&")  # of the output's tokens one is <b>
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    output(page)
    heads = page.locator("#map thead th").all_text_contents()
    assert heads == ["<", "b", "<unk>", "&", "</s>"]
    assert page.locator("main b").count() == 0


def test_a_long_text_shows_an_error_and_an_empty_text_no_output(page: Any) -> None:
    page.keyboard.type("a" * 13)
    page.keyboard.press("Enter")
    page.wait_for_selector("#status.error")
    assert "12 tokens. Received: 13" in page.text_content("#status")
    assert page.locator("#result").is_hidden()
    page.fill("#source", "")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert output(page) == ""
    assert page.locator("#attention").is_hidden()
