"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    settings={
        "federated_class_incremental": "redwood.branches.federated.setting:FederatedClassIncrementalSetting",
    },
    methods={
        "fedavg": MethodEntry(
            "redwood.branches.federated.fedavg:FedAvg",
            "federated_class_incremental",
            "clients train apart, and a server averages their weights (McMahan et al., 2017)",
        ),
        "fedssi": MethodEntry(
            "redwood.branches.federated.fedssi:FedSSI",
            "federated_class_incremental",
            "fedavg with synaptic intelligence, which each client measures on a surrogate (Li et al., 2025)",
        ),
    },
)
