"""Notice: the one sentence that every answer about a picture comes with."""

NOTICE = (
    "Not for diagnosis: a research model, tested on one data set alone. What it says is no finding about a patient."
)
