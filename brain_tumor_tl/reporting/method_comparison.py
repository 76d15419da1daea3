"""Method comparison: which method is better for each network, here and in the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.leaderboard import DASH, percent, with_std
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.table import Table, compact_table

TIE = "tie"
SAME = 1e-9  # smaller differences of accuracy are rounding errors


@dataclass(frozen=True)
class Comparison:
    """The methods of one network under the same settings.

    Attributes:
        model: Name of the network.
        label: The settings in which other comparisons of this network differ.
        groups: The runs of each method.
    """

    model: str
    label: str
    groups: Mapping[str, RunGroup]

    @property
    def ours(self) -> tuple[str, float | None]:
        """The better method of these runs and its lead."""
        return best_method({method: group.accuracy.mean for method, group in self.groups.items()})

    @property
    def study(self) -> tuple[str, float | None]:
        """The better method in the study and its lead; empty if these runs can't be compared with it."""
        if any(group.incomparable for group in self.groups.values()):
            return "", None
        return best_method({method: row["accuracy"] for (name, method), row in table1().items() if name == self.model})


def best_method(accuracies: Mapping[str, float]) -> tuple[str, float | None]:
    """Return the best method and its lead over the second best; an empty name if there are fewer than two.

    >>> best_method({"frozen": 0.875, "finetune": 1.0}), best_method({"frozen": 0.5, "finetune": 0.5})
    (('finetune', 0.125), ('tie', 0.0))
    >>> best_method({"frozen": 1.0})
    ('', None)
    """
    if len(accuracies) < 2:
        return "", None
    (first, best), (_, second), *_ = sorted(accuracies.items(), key=lambda item: -item[1])
    return (first, best - second) if best - second > SAME else (TIE, 0.0)


def compare_methods(groups: Sequence[RunGroup]) -> list[Comparison]:
    """Return the comparisons of each network, one for each variant of the settings that no method implies."""
    found: dict[tuple[str, str], dict[str, RunGroup]] = {}
    for group in groups:
        label = ", ".join(f"{key}={value}" for key, value in group.variant.items())
        found.setdefault((group.model, label), {})[group.method] = group
    return [Comparison(model, label, methods) for (model, label), methods in found.items()]


def method_table(groups: Sequence[RunGroup]) -> Table:
    """Return one row for each network: accuracy of each method, the better one and its lead, here and in the study."""
    methods = list(dict.fromkeys(group.method for group in groups))
    headers = ["network", "settings", *methods, "better", "by", "better in the study", "by"]
    rows = []
    for one in compare_methods(groups):
        accuracies = [with_std(one.groups[method].accuracy) if method in one.groups else DASH for method in methods]
        (ours, lead), (study, study_lead) = one.ours, one.study
        published = [study, percent(study_lead)] if study else ["", ""]
        rows.append([one.model, one.label, *accuracies, ours or DASH, percent(lead), *published])
    title = "Accuracy of each method in percent, and the lead of the better one in percentage points"
    return compact_table(title, headers, rows)


def conclusion(groups: Sequence[RunGroup]) -> list[str]:
    """Return in words which method is better, and where that differs from the study."""
    decided = [one for one in compare_methods(groups) if one.ours[0]]
    if not decided:
        return []
    better = [one.ours[0] for one in decided]
    counts = ", ".join(f"{method} for {better.count(method)}" for method in dict.fromkeys(better))
    what = "pairs of network and settings" if any(one.label for one in decided) else "networks"
    several = f"Better method of {len(decided)} {what}: {counts}."
    name = ", ".join(filter(None, (decided[0].model, decided[0].label)))
    sentences = [several if len(decided) > 1 else f"Better method for {name}: {better[0]}.", *study_sentence(decided)]
    if any(len(group.runs) == 1 for one in decided for group in one.groups.values()):
        sentences.append("Single runs can't show whether a small lead is more than chance; several seeds can.")
    return sentences


def study_sentence(decided: Sequence[Comparison]) -> list[str]:
    """Return in one sentence where the better method is the study's too; none if the study has none of the networks."""
    compared = [(one.model, one.ours[0], one.study[0]) for one in decided if one.study[0]]
    differing = [f"{model} ({study} there, {ours} here)" for model, ours, study in compared if ours != study]
    agreeing = len(compared) - len(differing)
    parts = [f"agrees for {agreeing} of {len(compared)}"] if len(compared) > 1 else ["agrees"] * agreeing
    parts += [f"differs for {', '.join(differing)}"] if differing else []
    return [f"The study {'; it '.join(parts)}."] if parts else []
