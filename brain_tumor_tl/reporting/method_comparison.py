"""Winners: which method comes out ahead for which network, ours and the study's conclusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brain_tumor_tl.reporting.aggregate import Group, Spread
from brain_tumor_tl.reporting.leaderboard import DASH, percent, with_std
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.table import Table

TIE = "tie"
SAME = 1e-9  # accuracies are fractions of at most some thousand images; what differs less is rounding


@dataclass(frozen=True)
class Contest:
    """The methods of one network under the same settings.

    Attributes:
        groups: The group of each method.
        label: The settings that other contests of this network differ in.
    """

    model: str
    label: str
    groups: Mapping[str, Group]

    @property
    def ours(self) -> dict[str, Spread]:
        """Accuracy by method."""
        found = {method: group.accuracy for method, group in self.groups.items()}
        return {method: value for method, value in found.items() if value is not None}

    @property
    def study(self) -> dict[str, float]:
        """The study's accuracy by method, empty where these runs don't compare."""
        if any(group.apart for group in self.groups.values()):
            return {}
        return {method: row["accuracy"] for (model, method), row in table1().items() if model == self.model}


def contests(groups: Sequence[Group]) -> list[Contest]:
    """Return each network's methods, apart for each variant of the settings that a method doesn't imply."""
    found: dict[tuple[str, str], dict[str, Group]] = {}
    for group in groups:
        label = ", ".join(f"{key}={value}" for key, value in group.variant.items())
        found.setdefault((group.model, label), {})[group.method] = group
    return [Contest(model, label, methods) for (model, label), methods in found.items()]


def winner(accuracies: Mapping[str, float]) -> tuple[str, float | None]:
    """Return the best method and how far it is ahead of the second; a dash where there are not two.

    >>> winner({"frozen": 0.875, "finetune": 1.0}), winner({"frozen": 0.5, "finetune": 0.5}), winner({"frozen": 1.0})
    (('finetune', 0.125), ('tie', 0.0), ('-', None))
    """
    if len(accuracies) < 2:
        return DASH, None
    (first, best), (_, second), *_ = sorted(accuracies.items(), key=lambda item: -item[1])
    return (first, best - second) if best - second > SAME else (TIE, 0.0)


def winner_table(groups: Sequence[Group]) -> Table:
    """Return one row for each network: accuracy by method, who is ahead and by how much, here and in the study."""
    held = contests(groups)
    methods = list(dict.fromkeys(group.method for group in groups))
    several, compared = any(contest.label for contest in held), any(contest.study for contest in held)
    rows = []
    for contest in held:
        ours, margin = winner({method: value.mean for method, value in contest.ours.items()})
        study, study_margin = winner(contest.study)
        cells = [with_std(contest.ours.get(method)) for method in methods]
        names = [contest.model, contest.label] if several else [contest.model]
        theirs = (study, percent(study_margin)) if compared else ()
        rows.append((*names, *cells, ours, percent(margin), *theirs))
    names = ["network", "settings"] if several else ["network"]
    headers = (*names, *methods, "ahead", "by", *(("ahead in the study", "by") if compared else ()))
    return Table("Accuracy in percent by method, and by how many points the better one is ahead", headers, tuple(rows))


def conclusion(groups: Sequence[Group]) -> list[str]:
    """Return in words which method wins, and where that differs from the study."""
    decided = [(contest, winner({m: v.mean for m, v in contest.ours.items()})[0]) for contest in contests(groups)]
    decided = [(contest, method) for contest, method in decided if method != DASH]
    if not decided:
        return []
    wins = [method for _, method in decided]
    parts = [f"{method} for {wins.count(method)}" for method in dict.fromkeys(wins)]
    what = "pairs of network and settings" if any(contest.label for contest, _ in decided) else "networks"
    sentences = [f"Method ahead, of {len(decided)} {what} with both done: {', '.join(parts)}."]
    compared = [(contest, method, winner(contest.study)[0]) for contest, method in decided if contest.study]
    if compared:
        other = [f"{contest.model} ({study} there, {ours} here)" for contest, ours, study in compared if ours != study]
        same = len(compared) - len(other)
        sentences.append(
            f"The same method as in the study for {same} of {len(compared)}"
            + (f"; other than there for {', '.join(other)}." if other else ".")
        )
    if any(len(group.runs) == 1 for contest, _ in decided for group in contest.groups.values()):
        sentences.append("Single runs can't tell a small lead from chance; more seeds can.")
    return sentences
