"""Notice: the one wording of what every answer about a picture comes with."""

NOTICE = "Not for diagnosis: a research model. What it says of a picture is no finding about a patient."
