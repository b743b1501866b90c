"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    methods={
        "background": MethodEntry(
            "redwood.branches.background.method:Background",
            "continual",
            "learns samples of other data as a negative class that is never predicted (after Hendrycks et al., 2019)",
        ),
    },
)
