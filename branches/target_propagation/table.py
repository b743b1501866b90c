"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    methods={
        "dtp": MethodEntry(
            "redwood.branches.target_propagation.dtp:DTP",
            "continual",
            "difference target propagation with the local difference reconstruction loss (Ernoult et al., 2022)",
        ),
    }
)
