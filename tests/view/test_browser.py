"""The player in a real browser, offline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.pipeline.reconstruction import player_page
from multipose.synthetic import SKELETON, sample_rig, walk
from multipose.tracks import trajectories3d
from multipose.view import Page, Section, rig, save_figure, trajectories

pytestmark = pytest.mark.slow

POINTS = "place => { const t = place._fullData.find(t => t.name === 'key points'); return [...t.x].map(Number); }"
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield instance
        instance.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a file in a tab without a network; in the end nothing must have been fetched and nothing gone wrong."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(120_000)  # a busy machine draws slowly in software
    page = context.new_page()
    wanted: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: wanted.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)

    def open_file(path: Path, scheme: str = "light") -> Any:
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        page.wait_for_selector(".figure .main-svg")
        return page

    yield open_file
    assert [url for url in wanted if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    context.close()


def test_the_player_moves_the_points(opened: Any, tmp_path: Path) -> None:
    cameras = sample_rig(3)
    xyz = walk(12, seed=3).points[:, None]
    xyz[6, 0, :3] = np.nan
    data = trajectories3d(xyz, keypoints=SKELETON.keypoints, fps=30, unit="mm")
    save_figure(trajectories(data, cameras, SKELETON), tmp_path / "player.html")
    page = opened(tmp_path / "player.html")
    place = page.locator(".figure")
    assert np.allclose(place.evaluate(POINTS), xyz[0, 0, :, 0], atol=1e-3)

    rail = page.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(rail["x"] + rail["width"] * 9 / 11, rail["y"] + rail["height"] / 2)
    page.wait_for_function("document.querySelector('.figure').layout.sliders[0].active === 9")
    page.wait_for_timeout(300)
    assert np.allclose(place.evaluate(POINTS), xyz[9, 0, :, 0], atol=1e-3)
    assert page.locator(".slider-label").first.text_content() == "frame 9, 0.30 s"

    page.mouse.click(rail["x"] + rail["width"] * 6 / 11, rail["y"] + rail["height"] / 2)
    page.wait_for_function("document.querySelector('.figure').layout.sliders[0].active === 6")
    page.wait_for_timeout(300)
    shown = place.evaluate("p => [...p._fullData.find(t => t.name === 'key points').x].map(v => Number.isFinite(v))")
    assert shown == np.isfinite(xyz[6, 0, :, 0]).tolist()

    page.mouse.click(rail["x"] + 1, rail["y"] + rail["height"] / 2)
    page.wait_for_function("document.querySelector('.figure').layout.sliders[0].active === 0")
    ranges = place.evaluate("p => [...p._fullLayout.scene.xaxis.range]")
    page.get_by_text("play", exact=False).first.click()
    page.wait_for_function("document.querySelector('.figure').layout.sliders[0].active === 11")
    page.wait_for_timeout(300)
    assert np.allclose(place.evaluate(POINTS), xyz[11, 0, :, 0], atol=1e-3)
    assert place.evaluate("p => [...p._fullLayout.scene.xaxis.range]") == ranges

    mode = "p => p._fullData.find(t => t.name === 'key points').mode"
    for expected in ("markers", "markers+text"):
        page.get_by_text("names", exact=True).click()
        page.wait_for_function(f"({mode})(document.querySelector('.figure')) === '{expected}'")
    page.get_by_text("whole rig", exact=True).click()
    page.wait_for_function(
        "document.querySelector('.figure')._fullData.filter(t => t.type === 'mesh3d' && t.visible).length === 3"
    )
    assert place.evaluate("p => [...p._fullLayout.scene.xaxis.range]") != ranges


def test_the_player_fits_into_the_window_of_a_laptop(browser: Any, tmp_path: Path) -> None:
    data = trajectories3d(walk(12, seed=3).points[:, None], keypoints=SKELETON.keypoints, fps=30, unit="mm")
    player_page("day2", data, sample_rig(3), SKELETON).save(tmp_path / "player.html")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "player.html").as_uri())
    page.wait_for_selector(".slider-container")
    slider = page.locator(".slider-container").first.bounding_box()
    assert slider["y"] + slider["height"] < 800
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.close()


def test_figures_follow_the_dark_setting(opened: Any, tmp_path: Path) -> None:
    Page("Rig", (Section("Rig", (rig(sample_rig(3)),)),)).save(tmp_path / "rig.html")
    page = opened(tmp_path / "rig.html", scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
    place = page.locator(".figure")
    assert place.evaluate("p => p._fullLayout.paper_bgcolor") == "#171b21"
    page.emulate_media(color_scheme="light")
    page.wait_for_function("document.querySelector('.figure')._fullLayout.paper_bgcolor === '#ffffff'")
    assert place.evaluate("p => p._fullLayout.scene.xaxis.title.text") == "x (mm)"
