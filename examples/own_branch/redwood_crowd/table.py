"""What this package adds to redwood. Lists and help read it, so it imports nothing else."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    settings={"crowd": "redwood_crowd.setting:CrowdSetting"},
    methods={
        "small_loss": MethodEntry(
            "redwood_crowd.small_loss:SmallLoss",
            "crowd",
            "learns the samples of a mini-batch that have the smallest losses (after Han et al., 2018)",
        ),
    },
    further={
        "redwood.results": {"crowd": "redwood_crowd.results:CrowdResults"},
        "redwood.streams": {"by_member": "redwood_crowd.by_member:ByMember"},
    },
)
