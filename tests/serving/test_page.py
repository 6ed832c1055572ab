"""The page of `tfgen serve` in headless Chromium: it draws what the signatures return."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import requests
import tensorflow as tf

from tfgen.export.serving import json_tensors
from tfgen.export.serving import page as served_page

SEED, COUNT = 1, 24


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    """The page in a browser, once its first pictures have been drawn."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("the page needs chromium and chromedriver to be tested")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
        "window-size=1100,1300",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    try:
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(30)
        driver.get(f"http://127.0.0.1:{server.rest_api_port}/")
        until(driver, lambda: count(driver, "#samples canvas") == COUNT)
        until(driver, lambda: count(driver, "#strip canvas") == 9)
        yield driver
    finally:
        driver.quit()


def until(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 30, 0.05).until(lambda _: condition())


def count(driver, selector):
    return driver.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


def pictures(driver, selector):
    """The pixels of canvases, uint8 [N, H, W, 1]."""
    found = driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(c => [c.height, c.width, "
        "...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])",
        selector,
    )
    images = [np.array(p[2:], np.uint8).reshape(p[0], p[1], 4)[..., :1] for p in found]
    return np.stack(images)


def slide(driver, name, value):
    driver.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; "
        "e.dispatchEvent(new Event('input'))",
        name,
        str(value),
    )


def samples(truth, temperature):
    seeds = tf.constant([[SEED, i] for i in range(COUNT)])
    temperatures = tf.fill([COUNT], tf.cast(temperature, tf.float32))
    return truth["sample_seeded"](seeds=seeds, temperature=temperatures)["images"].numpy()


def test_samples_follow_the_temperature(page, truth):
    np.testing.assert_array_equal(pictures(page, "#samples canvas"), samples(truth, 1.0))
    slide(page, "temperature", 0)
    expected = samples(truth, 0.0)
    until(page, lambda: np.array_equal(pictures(page, "#samples canvas"), expected))
    assert page.find_element("id", "temperature-shown").text == "0.00"


def test_the_card_is_shown(page):
    text = page.find_element("id", "about").text
    for part in (
        "vae-digits, version 1",
        "0.526 ± 0.004",
        "8 \N{MULTIPLICATION SIGN} 8",
        "102,224",
        "digits",
    ):
        assert part in text


def test_an_uploaded_image_is_reconstructed_and_scored(page, truth, images, tmp_path):
    file = tmp_path / "image.png"
    file.write_bytes(tf.io.encode_png(images[0]).numpy())
    page.find_element("id", "file").send_keys(str(file))
    for given in (images[:1], 255 - images[:1]):
        nats = truth["log_prob"](images=tf.constant(given))["log_prob"].numpy()[0]
        score = page.find_element("id", "score")
        until(page, lambda nats=nats, score=score: f"{nats:.2f} nats" in score.text)
        expected = truth["reconstruct"](images=tf.constant(given))["images"].numpy()
        until(
            page,
            lambda expected=expected: np.array_equal(pictures(page, "#reconstructed"), expected),
        )
        np.testing.assert_array_equal(pictures(page, "#given"), given)
        assert f"{-nats / (64 * np.log(2)):.3f} bits/dim" in score.text
        away = re.search(r"([0-9.]+) standard deviations (above|below)", score.text)
        deviation = 0.18449 * 360**0.5  # of the card
        assert float(away[1]) == pytest.approx(abs(nats + 23.32715) / deviation, abs=0.06)
        page.find_element("id", "invert").click()


def test_a_file_that_is_not_an_image_is_refused(page, tmp_path):
    (tmp_path / "text.png").write_text("text")
    page.find_element("id", "file").send_keys(str(tmp_path / "text.png"))
    problem = page.find_element("id", "problem")
    until(page, lambda: problem.text == "text.png is not an image that this browser can read.")


def test_interpolation_follows_the_weight(page, truth):
    first, second = (
        tf.constant(np.array(end, np.uint8)[None]) for end in page.execute_script("return ends")
    )
    for weight in (0.0, 0.3, 1.0):
        slide(page, "weight", weight)
        answer = truth["interpolate"](first=first, second=second, weight=tf.constant([weight]))
        expected = answer["images"].numpy()
        until(page, lambda expected=expected: np.array_equal(pictures(page, "#middle"), expected))


def test_every_control_has_a_name_and_nothing_is_logged(page):
    controls = page.find_elements("css selector", "button, input, select")
    assert len(controls) > 8
    for control in controls:
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_likelihoods_that_are_not_finite_are_shown():
    """The page's functions, run in Node on answers of the server."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("the page's functions need node to be tested without a browser")
    nats = np.array([-np.inf, np.inf, np.nan, -23.5], np.float32)
    answer = json_tensors.to_json({"log_prob": nats}, json_tensors.COLUMNAR).decode()
    text = json.dumps({"error": 'NaN "Infinity" \\" -Infinity'})
    functions = (
        re.search(rf"^function {name}\(.*?^}}$", served_page.html(), re.DOTALL | re.MULTILINE)[0]
        for name in ("parsed", "likelihood")
    )
    code = "\n".join(functions) + (
        "\nconst comparison = nats => `, compared ${nats}`;"
        f"\nconst shown = parsed({json.dumps(answer)}).outputs.map(n => likelihood(n, 64));"
        f"\nconsole.log(JSON.stringify([shown, parsed({json.dumps(text)})]));"
    )
    found = subprocess.run([node, "-e", code], capture_output=True, check=True, timeout=60)
    far = ": this image is too unlikely under the model for a finite value."
    shown = [
        ["\N{MINUS SIGN}\N{INFINITY} nats", far],
        ["\N{INFINITY} nats", far],
        ["not a number", far],
        [f"-23.50 nats, {23.5 / (64 * np.log(2)):.3f} bits/dim", ", compared -23.5"],
    ]
    assert json.loads(found.stdout) == [shown, json.loads(text)]


def test_it_makes_no_third_party_requests(server):
    answer = requests.get(f"http://127.0.0.1:{server.rest_api_port}/", timeout=20)
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", answer.text)


def test_the_list_of_models(server):
    address = f"http://127.0.0.1:{server.rest_api_port}"
    (entry,) = requests.get(f"{address}/models.json", timeout=20).json()
    assert (entry["name"], entry["version"], entry["labels"]) == ("vae-digits", 1, {})
    assert entry["card"]["model"]["image_shape"] == [8, 8, 1]
    assert "sample_seeded" in entry["signatures"]
