"""Model card: what a run's model is for, what it isn't for, and how good it is, as Markdown.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.reporting.cases import several_labels
from brain_tumor_tl.reporting.leaderboard import percent
from brain_tumor_tl.reporting.page import render
from brain_tumor_tl.reporting.protocol_text import describe_means
from brain_tumor_tl.reporting.run_files import RunFiles
from brain_tumor_tl.reporting.run_page import content, data_root, label_sentence

OF_THE_STUDY = "kaggle_patients.csv"  # in `patients_from`: images are recognised as those of the study's data set
STUDY_FAULTS = (
    "The images come from several sources that differ by class: size and border alone tell many classes apart "
    "(`brain-tumor-tl audit` measures this shortcut).",
    "Testing and Training were not made alike: most Testing gliomas are pictures from the web, and most Testing images "
    "of no tumour and of meningioma are copies of Training images.",
    "About half of the images without a tumour, or more, come from another collection than those with one, so no "
    "figure here shows that a healthy brain is recognised as such.",
    "Neighbouring file numbers are mostly slices of one patient; the data set itself names no patients.",
)
Results = Mapping[str, Any]


def model_card(files: RunFiles) -> str:
    """Return the model card of a run in Markdown."""
    found = content(files)
    found |= {
        "model": model_lines(files.results),
        "data_lines": data_lines(files.results),
        "faults": fault_lines(files),
        "limits": limit_lines(files.results),
    }
    return re.sub(r"\n{3,}", "\n\n", render("card.md.j2", **found)).strip() + "\n"


def model_lines(results: Results) -> list[str]:
    """Return what the model is and how it was trained."""
    config = results.get("config") or {}
    network, optimizer = config.get("model") or {}, config.get("optimizer") or {}
    weights = network.get("weights") or "none, it began from random ones"
    trained = f"Method {results['method']}, {results['epochs']} epochs, seed {results['seed']}"
    rate = f", {optimizer['name']} at {optimizer['lr']}" if {"name", "lr"} <= optimizer.keys() else ""
    return [
        f"Network: {results['model']} of torchvision, with a new head; pretrained weights: {weights}.",
        f"{trained}{rate}. Tested with the weights of the {results['protocol'].get('accuracy_of', 'last epoch')}.",
        f"Run: {results['name']}.",
    ]


def data_lines(results: Results) -> list[str]:
    """Return what the model was trained and tested on."""
    size = ((results.get("config") or {}).get("data") or {}).get("image_size")
    root = data_root(results)
    lines = [f"Images: {root}."] if root else []
    lines += [f"The network sees them at {size} x {size} pixels."] if size else []
    return [*lines, str(results["protocol"]["text"])]


def fault_lines(files: RunFiles) -> list[str]:
    """Return what is known to be wrong with the data."""
    protocol, labels = files.results["protocol"], several_labels(files.split)
    lines = ["Nobody looked for copies, so their number is not known."] if labels is None else []
    lines += [f"{label_sentence(labels)}."] if labels else []
    if shared := protocol.get("copies_in_training") or protocol.get("identical_in_training"):
        lines.append(f"{shared} test images have a copy in the training split.")
    if protocol.get("patients_in_training"):
        lines.append(f"{protocol['patients_in_training']} test images are of a patient in the training split.")
    if protocol.get("folders_left_out"):
        lines.append(f"Folders of no known class were left out: {', '.join(protocol['folders_left_out'])}.")
    if OF_THE_STUDY in str(protocol.get("patients_from") or ""):
        lines += STUDY_FAULTS
    return lines or ["None was found by a search for copies. Labels were not checked by a radiologist for this card."]


def limit_lines(results: Results) -> list[str]:
    """Return what the figures don't show."""
    protocol, probabilities = results["protocol"], results.get("probabilities") or {}
    lines = ["The test images come from the same collection as the training images; other hospitals were not tested."]
    lines += [f"{means}."] if results.get("classes") and (means := describe_means(results)) else []
    if protocol.get("best_chosen_on") == "test":
        lines.append("The best epoch was chosen on the test split, so `best_accuracy` is optimistic.")
    if protocol.get("limited"):
        lines.append("Only some batches of the data were used.")
    error = probabilities.get("calibration_error")
    if error is not None:
        after = probabilities.get("calibrated")
        scaled = f"; {percent(after['calibration_error'])} points after temperature scaling" if after else ""
        lines.append(
            f"A stated confidence is off by {percent(error)} percentage points on average, as trained{scaled}."
        )
    lines.append("Grad-CAM shows what the network used, which need not be what a radiologist would look at.")
    return lines
