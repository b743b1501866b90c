"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    methods={
        "generative_rehearsal": MethodEntry(
            "redwood.branches.generative.generative_rehearsal:GenerativeRehearsal",
            "class_incremental",
            "trains on each batch together with samples of a generator; stores no samples (after Zeng et al., 2023)",
        ),
    },
)
