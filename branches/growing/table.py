"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    methods={
        "widen": MethodEntry(
            "redwood.branches.growing.widen:Widen",
            "continual",
            "adds hidden units without changing the outputs (after Chen et al., 2016)",
        ),
        "c_ada": MethodEntry(
            "redwood.branches.growing.c_ada:CAda",
            "class_incremental",
            "a frozen network and an adapter of columns, of which earlier ones are frozen (Gao et al., 2024)",
        ),
        "reuse_outputs": MethodEntry(
            "redwood.branches.growing.reuse_outputs:ReuseOutputs",
            "class_incremental",
            "starts the output of a new class from those of the old classes that it is taken for: a split, a merge",
            requires=frozenset({"many_passes"}),
        ),
    },
)
