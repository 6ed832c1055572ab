"""Malformed images and recipes: counts tracebacks, hangs and the memory that they take.

    python tools/fuzz_files.py [--images 1000] [--recipes 500] [--seed 0]

Images are PNG, JPEG, GIF, BMP, WebP and TIFF files, IDX files of MNIST and batches of CIFAR-10 with
changed bytes, lengths or headers; recipes are YAML files with changed tokens, lines or bytes, and
values of settings. Another process reads them: it must answer within 10 seconds, with a result or
with an error that tfgen documents.
"""

import argparse
import collections
import io
import multiprocessing
import random
import resource
import struct
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HANG = 10.0  # seconds
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")


def chunk(kind, content):
    """A chunk of a PNG with its checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def claimed_png(choose):
    """A PNG whose header claims any size, depth and colour; its pixels may be missing."""
    sides = (0, 1, 8, 1000, 9459, 40_000, 2**20, 2**31 - 1, 2**32 - 1)
    width, height = choose.choice(sides), choose.choice(sides)
    kind = choose.choice([(8, 0), (8, 2), (16, 0), (8, 6), (1, 3), (choose.randrange(99), 9)])
    header = struct.pack(">IIBBBBB", width, height, *kind, 0, 0, choose.choice((0, 1)))
    data = zlib.compress(bytes(choose.choice((0, 100, 10**7))))
    extra = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))) * choose.choice((0, 0, 2))
    body = extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def mutated(content, choose):
    """The content with changed, inserted, removed or repeated bytes."""
    content = bytearray(content)
    for _ in range(choose.choice((1, 1, 2, 5, 30))):
        at = choose.randrange(len(content) + 1)
        how = choose.randrange(6)
        if how == 0:
            content[at : at + 1] = bytes([choose.randrange(256)])
        elif how == 1:
            content[at : at + 4] = struct.pack(
                choose.choice("><") + "I", choose.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1))
            )
        elif how == 2:
            del content[at : at + choose.randrange(1, 40)]
        elif how == 3:
            content[at:at] = choose.randbytes(choose.randrange(1, 40))
        elif how == 4:
            content[at:at] = content[at : at + 200]
        else:
            early = choose.randrange(64)
            content[early : early + 1] = bytes([choose.randrange(256)])
        content = content or bytearray(b"\0")
    if choose.random() < 0.2:
        del content[choose.randrange(len(content)) :]
    return bytes(content)


def image(choose):
    """A malformed file, and the kind that it belongs to."""
    if choose.random() < 0.15:
        return "PNG header", claimed_png(choose)
    kind = choose.choice((*FORMATS, *FORMATS, "IDX", "CIFAR-10", "CIFAR-10 pickle"))
    pixels = np.frombuffer(choose.randbytes(3072), np.uint8)
    if kind == "IDX":
        whole = struct.pack(">4B3I", 0, 0, 8, 3, 3, 32, 32) + pixels.tobytes()
    elif kind == "CIFAR-10":
        whole = b"\1" + pixels.tobytes()
    elif kind == "CIFAR-10 pickle":
        import pickle

        whole = pickle.dumps({b"data": pixels[None], b"labels": [1]}, choose.choice((2, 4)))
    else:
        file = io.BytesIO()
        picture = Image.fromarray(pixels.reshape(32, 32, 3))
        modes = ["RGB", "L", "P", "RGBA"] if kind in ("PNG", "TIFF", "WEBP", "GIF") else ["RGB"]
        picture.convert(choose.choice(modes)).save(file, kind)
        whole = file.getvalue()
    return kind, mutated(whole, choose)


def read_image(kind, content, folder):
    """Read it as `tfgen score` and `tfgen.data.load` do; returns whether it was accepted."""
    from tfgen.data import image_files
    from tfgen.data.formats import cifar10_batches, idx

    if kind == "IDX":
        idx.parse(content, Path("a"), 3)
    elif kind == "CIFAR-10":
        cifar10_batches._binary(content, Path("a"))
    elif kind == "CIFAR-10 pickle":
        cifar10_batches._python(content, Path("a"))
    else:
        for path in folder.iterdir():
            path.unlink()
        (folder / "a.png").write_bytes(content)
        (batch,) = image_files.read_folder(folder, (32, 32, choice_of_channels(content)), 8)
        return batch.images is not None
    return True


def choice_of_channels(content):
    """1 or 3, the same for the same content."""
    return 1 + 2 * (len(content) % 2)


TOKENS = (
    *("[", "]", "{", "}", ":", "- ", "&a ", "*a", "<<: *a", "!!set ", "!!binary gIGC", "~", "\0"),
    *("!!python/name:os", "null", ".nan", ".inf", "-1", "1e999", "9" * 5000, "2001-99-99", "\t"),
    *("2001-01-01", "'", '"', "|\n", "? ", "---\n", "...\n", "%YAML 9.9\n", "1:99:99", "\ud7ff"),
)


KEYS = ("latent_dim", "hidden_units", "data.source", "summary", "steps", "learning_rate", "x")


def recipe_text(choose):
    """A malformed recipe."""
    from tfgen.training import recipe_files

    kind = choose.randrange(8)
    if kind == 0:
        depth = choose.choice((20, 1500, 30_000))
        return choose.choice(("[", "{a: ", "- ")) * depth
    if kind == 1:
        lines = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
        return "a0: &a0 [x]\n" + "\n".join(lines)
    if kind == 2:
        return choose.choice(("a: ", "")) + choose.choice("x[,:'&") * choose.randrange(70_000)
    text = recipe_files.text(choose.choice(recipe_files.names()))
    lines = text.splitlines()
    for _ in range(choose.choice((1, 2, 4))):
        at = choose.randrange(len(lines))
        key, colon, value = lines[at].partition(":")
        token = choose.choice(TOKENS)
        lines[at] = choose.choice(
            (f"{key}: {token}", lines[at] + token, token + lines[at], f"{value}{colon}{key}", "")
        )
    if kind == 3:
        lines.append("model: {hidden_units: [" + "1," * choose.choice((300, 20_000)) + "]}")
    text = "\n".join(lines)
    if kind == 4:
        text = mutated(text.encode(), choose).decode("utf-8", "replace")
    return text


def read_recipe(kind, content, folder):
    """Read it as `tfgen-train` does, as a file or as a setting."""
    from tfgen.training import recipe

    if kind != "file":
        recipe.load("vae-digits", [f"{kind}={content}"])
    else:
        (folder / "a.yaml").write_text(content, "utf-8", "surrogatepass")
        recipe.load(folder / "a.yaml")
    return True


def work(jobs, answers):
    """Read what `jobs` sends; answer with the outcome, the seconds and the peak memory."""
    from tfgen.errors import InputError

    folder = Path(tempfile.mkdtemp())
    for kind, content, is_image in iter(jobs.recv, None):
        start = time.monotonic()
        try:
            read = read_image if is_image else read_recipe
            outcome = "accepted" if read(kind, content, folder) else "refused"
        except InputError as error:
            short = len(str(error)) < 1000
            outcome = "refused" if short else f"a long message: {str(error)[:200]}"
        except BaseException:
            outcome = traceback.format_exc()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answers.send((outcome, time.monotonic() - start, peak))


def start():
    """A process that reads, and the two ends of its pipe."""
    jobs, others_jobs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(others_jobs, others_jobs), daemon=True
    )
    process.start()
    return process, jobs


def run(name, cases):
    """Read all cases and print the counts."""
    found, failures, slowest, peak = collections.Counter(), [], 0.0, 0
    process, jobs = start()
    for number, case in enumerate(cases):
        jobs.send(case)
        if not jobs.poll(HANG):
            process.kill()
            found["hangs"] += 1
            failures.append((number, case[0], "no answer"))
            process, jobs = start()
            continue
        try:
            outcome, seconds, memory = jobs.recv()
        except EOFError:
            found["crashes"] += 1
            failures.append((number, case[0], "the process ended"))
            process, jobs = start()
            continue
        slowest, peak = max(slowest, seconds), max(peak, memory)
        known = outcome in ("accepted", "refused")
        found[outcome if known else "tracebacks"] += 1
        if not known:
            failures.append((number, case[0], outcome))
    process.kill()
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
    print(f"{sum(found.values()):,} {name}: {counts}")
    print(f"    slowest {slowest:.1f} s, peak memory {peak / 2**20:.2f} GiB")
    for number, kind, text in failures[:10]:
        print(f"  {name} {number} ({kind}):\n{text}")
    return not failures


def main():
    """Run both fuzzers; the exit code is 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--recipes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    choose = random.Random(options.seed)
    images = [(*image(choose), True) for _ in range(options.images)]
    recipes = [
        (choose.choice(("file", "file", *KEYS)), recipe_text(choose), False)
        for _ in range(options.recipes)
    ]
    good = [run("images", images), run("recipes", recipes)]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
