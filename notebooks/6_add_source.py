# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Add a source: a reader for images as your hospital keeps them
#
# **Question.** How do images that no reader knows become a data set, and what do their labels give
# away before anything is trained?
#
# Often no code is needed: `data/source=folders` reads a folder per class, `data/source=table` any
# CSV with a row per image. Here neither fits, because the diagnosis is written per *patient*, and
# the patient is part of the file's name. We fabricate such a folder, write a reader for it and let
# `hideseek` take it from outside the package.

# %%
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from IPython.display import Image as Picture
from PIL import Image

from hideseek.data.phantom import CLASSES, PhantomRecipe, draw

folder = TemporaryDirectory(prefix="hideseek-")
os.chdir(folder.name)
os.environ.pop("FORCE_COLOR", None)  # set by Jupyter; progress bars would move in a text
os.environ["PYTHONPATH"] = "."  # where `hideseek` finds the module that is written below
sys.path.insert(0, ".")


def run(*words, status=0, last=None):
    """Run `hideseek WORDS`, show what it prints, or its last lines, and check its exit status."""
    line = " ".join(("$ hideseek", *words))
    print(textwrap.fill(line, 96, subsequent_indent="    ", break_on_hyphens=False))
    command = [sys.executable, "-m", "hideseek", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.replace(f"{Path.cwd()}{os.sep}", "").splitlines()
    print(*(lines if last is None or done.returncode != status else lines[-last:]), sep="\n")
    print("exit status", done.returncode)
    assert done.returncode == status


# %% [markdown]
# ## The folder
#
#     raw/harbour/
#         diagnoses.txt          P00003;PNEUMONIA
#         WARD-A/P00003_PA_1.png
#         ICU/P00007_AP_2.png
#
# There are 90 drawn radiographs. As in many hospitals the ill lie elsewhere than the healthy:
# COVID-19 patients are photographed in the ICU, everybody else mostly in ward A. One file is
# broken, one is a copy of another, one patient has no diagnosis.

# %%
WORDS = dict(zip(CLASSES, ("NO FINDING", "PNEUMONIA", "COVID19"), strict=True))
raw = Path("raw/harbour")
diagnoses = {}
for index in range(90):
    one = draw(PhantomRecipe(carriers=("opacity",), size=256), index)
    patient, word = one.patient_id.upper(), WORDS[CLASSES[one.label]]
    place = "ICU" if word == "COVID19" or index % 9 == 1 else "WARD-A"
    path = raw / place / f"{patient}_{one.view}_{index}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(one.image).save(path)
    diagnoses[patient] = word

first, second, *_ = sorted(raw.glob("WARD-A/*.png"))
(raw / "WARD-A" / "P90001_PA_900.png").write_bytes(first.read_bytes())
diagnoses["P90001"] = diagnoses[first.name.split("_")[0]]
(raw / "WARD-A" / "P90002_PA_901.png").write_bytes(second.read_bytes()[:500])
diagnoses["P90002"] = "NO FINDING"
(raw / "ICU" / "P90003_AP_902.png").write_bytes(second.read_bytes())
lines = [f"{patient};{word}" for patient, word in diagnoses.items()]
(raw / "diagnoses.txt").write_text("\n".join(lines) + "\n")
print(len(list(raw.glob("*/*.png"))), "images,", len(lines), "diagnoses")

# %% [markdown]
# ## The reader
#
# A reader is a function from the data root to a `Listing`: one row per image, and findings about
# what it met. It opens no image and leaves out nothing that later steps can judge. A row without a
# class has an empty label. Two things it must get right, because nobody can repair them later:
#
# - `path` is relative to the data root, with forward slashes;
# - `patient_id` is unique over all sources, so it starts with the source's name.

# %%
Path("my_readers.py").write_text('''\
"""Harbour hospital: WARD/PATIENT_VIEW_NUMBER.png, and diagnoses.txt with PATIENT;FINDING."""

from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import paper_class
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder


def harbour(root: Path, folder: str = "harbour") -> Listing:
    """List the images; a patient without a diagnosis keeps an empty label."""
    place = source_folder(root, folder, "diagnoses.txt", "diagnoses.txt and folders of wards")
    lines = (root / place / "diagnoses.txt").read_text(encoding="utf-8").splitlines()
    findings = dict(line.split(";", 1) for line in lines if ";" in line)
    rows, problems = [], []
    for path in FileIndex(root, place).files:
        file = PurePosixPath(path)
        patient, view, _ = file.stem.split("_")
        if patient not in findings:
            problems.append(
                Problem(path, "no_diagnosis", "warning", f"no line for {patient}", "no label")
            )
        finding = findings.get(patient, "")
        rows.append({
            "path": path,
            "label": paper_class(finding),
            "source": file.parent.name.lower(),
            "patient_id": f"harbour_{patient}",
            "view": view,
            "finding": finding,
        })
    return listing(rows, problems)
''')
print("wrote my_readers.py")

# %%
from my_readers import harbour

found = harbour(Path("raw"))
with pl.Config(tbl_cols=-1, tbl_width_chars=120, fmt_str_lengths=40):
    print(found.rows.select("path", "label", "source", "patient_id", "view").head(4))
print([problem.kind for problem in found.problems])

# %% [markdown]
# ## The choice
#
# A file `data/source/NAME.yaml` in a folder of our own makes it a choice of `data/source=`. The
# first line says where in the configuration it goes: one name per reader, so that several can be
# combined (`data/source=[harbour,cohen]`).

# %%
Path("my_conf/data/source").mkdir(parents=True)
Path("my_conf/data/source/harbour.yaml").write_text("""\
# @package data.readers.harbour
_target_: my_readers.harbour
_partial_: true
folder: harbour
""")
print("wrote my_conf/data/source/harbour.yaml")

HARBOUR = ("--config-dir", "my_conf", "data=raw", "data/source=harbour", "data.raw=raw")

# %% [markdown]
# ## What the labels give away
#
# `check` opens no image. It shows how classes and sources hang together, and what a classifier
# reaches that sees only the columns beside the image: the *metadata floor*. A network has to be
# better than that before its accuracy means anything.

# %%
run("check", *HARBOUR)

# %% [markdown]
# ## Images, masks, cache
#
# `prepare` opens every file, leaves out what cannot be used and says why, splits the *patients*,
# finds the lungs with the packaged U-Net, judges the masks by class and source, and writes one
# cache.

# %%
run("prepare", *HARBOUR, "data.size=128")

# %% [markdown]
# The alarm is no accident. The packaged U-Net was trained on radiographs, these are drawings, and
# it finds the lungs of the ill less well. A network that sees `lungs_removed` could read that. The
# remedy is better masks: your own in the column `mask`, or another segmenter (`data.segmenter=`).
#
# Every finding about a file is a row of `problems.csv`, with what was done about it.

# %%
problems = pl.read_csv(next(Path("cache").glob("cache-*.problems.csv")))
serious = problems.filter(pl.col("severity") != "info").group_by("kind", "action").len()
with pl.Config(tbl_rows=-1, fmt_str_lengths=60, tbl_hide_dataframe_shape=True):
    print(serious.sort("kind", "action"))

# %% [markdown]
# The masks to look at, worst first:

# %%
Picture(next(Path("cache").glob("cache-*.masks.png")), width=640)

# %%
kinds = set(problems["kind"])
print("kinds of findings:", ", ".join(sorted(kinds)))

# %% [markdown]
# From here on it is a data set as any other:
#
#     hideseek train --config-dir my_conf data=raw data/source=harbour data.raw=raw model=...
#
# ## What to conclude
#
# - The place where a picture was taken tells COVID-19 from the rest before any pixel is seen. No
#   accuracy on such data says that a network reads lungs; an audit within sources can.
# - The broken file, the copy and the patient without a diagnosis were met, named and dealt with,
#   and patients are on one side of the split each.
#
# ## What not to conclude
#
# - Not that no finding means clean data: near-copies with other crops, wrong labels and wrong
#   patient ids look like good rows.
# - Not that the segmenter does the same on radiographs. Run `prepare` on yours and look at the
#   sheet.
# - `source` is what the reader says it is. If the scanner matters and not the ward, say so there.
