"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    settings={
        "osaka": "redwood.branches.osaka.setting:OsakaSetting",
    },
    methods={
        "maml": MethodEntry(
            "redwood.branches.osaka.maml:MAML",
            "osaka",
            "adapts weights that were meta-learned before the stream to each batch anew (Finn et al., 2017)",
        ),
        "anil": MethodEntry(
            "redwood.branches.osaka.maml:ANIL",
            "osaka",
            "MAML that adapts the last layer alone (Raghu et al., 2020)",
        ),
        "continual_maml": MethodEntry(
            "redwood.branches.osaka.continual_maml:ContinualMAML",
            "osaka",
            "MAML that goes on learning in the stream, and tells where the context switches (Caccia et al., 2020)",
        ),
    },
)
