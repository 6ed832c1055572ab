"""`tfgen score`: a table of the log-likelihood of each image in a folder."""

import csv
import io
import os

import numpy as np
import pytest

import tfgen
from tfgen import cli


@pytest.mark.parametrize("model", ["glow", "vae"])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_score_writes_the_log_likelihood_of_each_image(
    model, num_samples, saved, folder, images, capsys
):
    model = saved[model]
    assert cli.main(["score", model, str(folder), "--num-samples", str(num_samples)]) == 0
    out, error = capsys.readouterr()
    assert error == (
        "tfgen score: 1 of 4 images, such as large.png, were resized to 8x8, which changes their "
        "likelihood\n"
        "tfgen score: left out: notes.txt: not an image of a known format\n"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == ["a.png", "b.png", "large.png", "more/c.png"]
    loaded = tfgen.zoo.load(model)
    log_prob = loaded.log_prob(images[[1, 0, 2]], num_samples=num_samples).numpy()
    of_ours = [row for row in rows if row["file"] != "large.png"]
    np.testing.assert_allclose([float(row["log_prob"]) for row in of_ours], log_prob, rtol=1e-4)
    np.testing.assert_allclose(
        [float(row["bits_per_dim"]) for row in of_ours], -log_prob / (64 * np.log(2)), rtol=1e-4
    )
    assert {row["estimator"] for row in rows} == {loaded.bound_of(num_samples)}
    if num_samples == 1:
        np.testing.assert_array_equal(log_prob, loaded.log_prob(images[[1, 0, 2]]))


def test_score_writes_a_file(saved, folder, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    assert cli.main(["score", saved["glow"], str(folder), "--out", str(out)]) == 0
    words = "exact density of the dequantized image"
    assert capsys.readouterr().out == f"4 images in {out}: {words}\n"
    assert len(out.read_text().splitlines()) == 5


def test_score_writes_names_that_are_not_text(saved, folder, tmp_path, capsysbinary):
    name = b"caf\xe9 \xff.png"
    (folder / "a.png").rename(folder / os.fsdecode(name))
    out = tmp_path / "scores.csv"
    assert cli.main(["score", saved["vae"], str(folder)]) == 0
    assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
    printed = capsysbinary.readouterr().out
    for table in (printed, out.read_bytes()):
        assert name in [row.split(b",")[0] for row in table.splitlines()]


@pytest.mark.parametrize("linked", [False, True])
def test_score_writes_into_a_pipe_without_replacing_it(linked, saved, folder, tmp_path, capsys):
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    out.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        words = ["--out", str(out if linked else pipe)]
        assert cli.main(["score", saved["vae"], str(folder), *words]) == 0
        content = os.read(reader, 100_000).decode()
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert out.is_symlink()
    assert [row["file"] for row in csv.DictReader(io.StringIO(content))] == [
        *("a.png", "b.png", "large.png", "more/c.png")
    ]
    assert capsys.readouterr().out == ""


def test_score_writes_the_file_behind_a_link(saved, folder, tmp_path, capsys):
    out, file = tmp_path / "out.csv", tmp_path / "scores.csv"
    out.symlink_to(file)
    for _ in range(2):  # It is not there, then it is.
        assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith(f"4 images in {out}: ")
        assert out.is_symlink()
        assert len(file.read_text().splitlines()) == 5


def test_score_replaces_a_link_to_itself(saved, folder, tmp_path):
    out = tmp_path / "loop"
    out.symlink_to(out)
    assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 5
