"""Method comparison: which method has the higher accuracy for each network, here and in the study, and if by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brain_tumor_tl.evaluation.intervals import LEVEL
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.leaderboard import DASH, p_text, percent, with_std
from brain_tumor_tl.reporting.significance import ComparisonSet
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.table import EMPTY, Table, compact_table

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


def method_table(groups: Sequence[RunGroup], sets: Sequence[ComparisonSet] = ()) -> Table:
    """Return one row for each network: accuracy of each method, the highest and its lead, here and in the study.

    Args:
        groups: Finished runs, grouped.
        sets: Significance tests between runs with the same test images.
    """
    methods = list(dict.fromkeys(group.method for group in groups))
    headers = ["network", "settings", *methods, "highest", "by", "p, corrected", "highest in the study", "by"]
    rows = []
    for one in compare_methods(groups):
        accuracies = [with_std(one.groups[method].accuracy) if method in one.groups else DASH for method in methods]
        (ours, lead), (study, study_lead) = one.ours, one.study
        published = [study, percent(study_lead)] if study else ["", ""]
        tested = "" if (p_value := p_value_of(one, sets)) is None else p_text(p_value)
        rows.append([one.model, one.label, *accuracies, ours or DASH, percent(lead), tested, *published])
    title = "Accuracy of each method in percent, and the lead of the highest in percentage points"
    return compact_table(title, headers, rows, left_out=EMPTY)


def p_value_of(one: Comparison, sets: Sequence[ComparisonSet]) -> float | None:
    """Return the corrected p-value of the highest accuracy of a network being different from the second.

    It is None if it was not tested: there is one method, several runs of it, or no predictions of the same images.
    """
    ranked = sorted(one.groups.values(), key=lambda group: -group.accuracy.mean)
    if len(ranked) < 2 or any(len(group.runs) > 1 and not group.folds for group in ranked[:2]):
        return None
    first, second = ranked[:2]
    known = [each.p_values for compared in sets for each in compared.runs if each.group is first]
    return known[0].get(str(second.runs[0].folder)) if known else None


def conclusion(groups: Sequence[RunGroup], sets: Sequence[ComparisonSet] = ()) -> list[str]:
    """Return in words which method has the higher accuracy, if by more than chance, and where the study differs.

    Args:
        groups: Finished runs, grouped.
        sets: Significance tests between runs with the same test images.
    """
    decided = [one for one in compare_methods(groups) if one.ours[0]]
    if not decided:
        return []
    highest = [one.ours[0] for one in decided]
    counts = ", ".join(f"{method} for {highest.count(method)}" for method in dict.fromkeys(highest))
    what = "pairs of network and settings" if any(one.label for one in decided) else "networks"
    name = ", ".join(filter(None, (decided[0].model, decided[0].label)))
    several = f"Method with the highest accuracy, of {len(decided)} {what}: {counts}."
    first = several if len(decided) > 1 else f"Method with the highest accuracy for {name}: {highest[0]}."
    return [first, *chance_sentence(decided, sets), *study_sentence(decided)]


def chance_sentence(decided: Sequence[Comparison], sets: Sequence[ComparisonSet]) -> list[str]:
    """Return for how many networks the lead is more than chance; that it isn't known where it can't be tested."""
    leads = [one for one in decided if one.ours[0] != TIE]
    tested = [value for one in leads if (value := p_value_of(one, sets)) is not None]
    if tested:
        significant = sum(value <= 1 - LEVEL for value in tested)
        return [
            f"The lead is significant for {significant} of {len(tested)} (exact test on the same images, Holm, 5 %)."
        ]
    if any(len(group.runs) == 1 for one in decided for group in one.groups.values()):
        return ["Single runs can't show whether a small lead is more than chance; several seeds can."]
    return []


def study_sentence(decided: Sequence[Comparison]) -> list[str]:
    """Return in one sentence where the better method is the study's too; none if the study has none of the networks."""
    compared = [(one.model, one.ours[0], one.study[0]) for one in decided if one.study[0]]
    differing = [f"{model} ({study} there, {ours} here)" for model, ours, study in compared if ours != study]
    agreeing = len(compared) - len(differing)
    parts = [f"agrees for {agreeing} of {len(compared)}"] if len(compared) > 1 else ["agrees"] * agreeing
    parts += [f"differs for {', '.join(differing)}"] if differing else []
    return [f"The study {'; it '.join(parts)}."] if parts else []
