"""The report in a real browser: its cost, whether it draws and obeys its buttons, loads nothing, runs nothing strange.

Needs chromium with its driver, and selenium. A picture of the page is left beside the result for people to look at.

    python benchmarks/report_page.py RESULT [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from provenance import HERE, provenance
from xrayflow.inference import Posterior
from xrayflow.products import load_result
from xrayflow.products.figures import corner_figure, png
from xrayflow.products.page import report_page

HOSTILE = "</script><script>window.taken=1</script><img src=x onerror='window.taken=2'>"
REPEATS = 5


def browser() -> webdriver.Chrome:
    """Chromium without a window, which notes what it asks the network for."""
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,3600"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def opened(driver: webdriver.Chrome, page: Path) -> dict[str, Any]:
    """What the browser made of a page."""
    started = time.perf_counter()
    driver.get(page.as_uri())
    while not driver.find_elements(By.CSS_SELECTOR, "#spectrum .updatemenu-button"):
        if time.perf_counter() - started > 30:
            raise SystemExit(f"{page}: nothing was drawn in 30 s")
        time.sleep(0.02)
    drawn = time.perf_counter() - started
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    return {
        "seconds_until_drawn": round(drawn, 2),
        "console": [entry["message"] for entry in driver.get_log("browser")],
        "requests_beside_itself": [url[:100] for url in urls if not url.startswith((page.as_uri(), "data:", "blob:"))],
        "traces": driver.execute_script("return document.querySelectorAll('#spectrum .scatterlayer .trace').length"),
        "strange_script_ran": driver.execute_script("return window.taken || false"),
    }


def pressed(driver: webdriver.Chrome, page: Path) -> dict[str, str]:
    """What is shown after each of the spectrum's buttons: residuals, scale of y and axes."""
    driver.get(page.as_uri())
    found = {}
    below, above = "#spectrum .updatemenu-button", ".axes button"
    # the axes last: what was chosen below has to stay
    for which, place in [
        (below, 0),
        (below, 1),
        (below, 2),
        (below, 3),
        (below, 4),
        (above, 1),
        (above, 2),
        (above, 0),
    ]:
        button = driver.find_elements(By.CSS_SELECTOR, which)[place]
        webdriver.ActionChains(driver).move_to_element(button).click().perform()
        time.sleep(0.5)
        seen = "g.data.filter(t => t.yaxis === 'y2' && t.visible === true).map(t => t.name)"
        rest = "[g.layout.yaxis.type, g.layout.xaxis.title.text, g.layout.yaxis2.title.text]"
        words = f"var g = document.getElementById('spectrum'); return {seen}.concat({rest}).join(', ')"
        label = driver.find_elements(By.CSS_SELECTOR, which)[place].text
        found[label] = driver.execute_script(words)
    return found


def costs(posterior: Posterior, corner: bytes) -> dict[str, float]:
    """CPU seconds of a report beside all else, without the first, which imports."""
    each = []
    for _ in range(REPEATS + 1):
        started = time.process_time()
        report_page(posterior, corner)
        each.append(time.process_time() - started)
    return {"first": round(each[0], 3), "median_of_others": round(sorted(each[1:])[REPEATS // 2], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    posterior = load_result(asked.result)
    corner = png(corner_figure(posterior))
    data = replace(posterior.data[0], source=HOSTILE, instrument=HOSTILE)
    bent = replace(posterior, data=(data, *posterior.data[1:]))
    told: dict[str, Any] = {"bytes": len(report_page(posterior, corner)), "cpu_seconds": costs(posterior, corner)}
    with tempfile.TemporaryDirectory() as folder:
        pages = {name: Path(folder) / f"{name}.html" for name in ("plain", "hostile")}
        for name, one in (("plain", posterior), ("hostile", bent)):
            pages[name].write_bytes(report_page(one, corner))
        driver = browser()
        try:
            told |= {name: opened(driver, page) for name, page in pages.items()}
            told["buttons"] = pressed(driver, pages["plain"])
            told["browser"] = driver.capabilities["browserVersion"]
            driver.get(pages["plain"].as_uri())
            time.sleep(1.0)
            if asked.picture is not None:
                driver.save_screenshot(str(asked.picture))
                for place, name in ((1, "angstrom"), (2, "channels")):
                    driver.find_elements(By.CSS_SELECTOR, ".axes button")[place].click()
                    time.sleep(1.0)
                    driver.save_screenshot(str(asked.picture.with_stem(f"{asked.picture.stem}-{name}")))
        finally:
            driver.quit()
    result = {**provenance(__file__), "model": posterior.model.text, **told}
    (HERE / "results" / "report_page.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
