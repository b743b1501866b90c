"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, Command, MethodEntry

BRANCH = Branch(
    commands={
        "modules": Command(
            "redwood.branches.modular.library_listing:Listing",
            "DIR",
            "show the networks of a module library as a tree, and draw their lineage",
        )
    },
    methods={
        "hard_moe": MethodEntry(
            "redwood.branches.modular.hard_moe:HardMoE",
            "class_incremental",
            "a k-means gate in front of independent experts; stores no samples (Gross et al., 2017)",
        ),
        "independent": MethodEntry(
            "redwood.branches.modular.finetune_from:Independent",
            "task_incremental",
            "trains a network of its own for each task: what transfer between tasks is measured against",
            requires=frozenset({"many_passes"}),
        ),
        "finetune_from": MethodEntry(
            "redwood.branches.modular.finetune_from:FinetuneFrom",
            "task_incremental",
            "starts each task from the network of the most related earlier one (Bornschein et al., 2023)",
            requires=frozenset({"many_passes"}),
        ),
        "mntdp": MethodEntry(
            "redwood.branches.modular.mntdp:MNTDP",
            "task_incremental",
            "takes over modules of a related task, and searches how many; no forgetting (Veniat et al., 2021)",
            requires=frozenset({"many_passes"}),
        ),
        "composable": MethodEntry(
            "redwood.branches.modular.mntdp:Composable",
            "task_incremental",
            "mixes modules of several related tasks by a stochastic search (after Veniat et al., 2021)",
            requires=frozenset({"many_passes"}),
        ),
    },
)
