"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    settings={
        "label_budget": "redwood.branches.label_budget.setting:LabelBudgetSetting",
    },
    methods={
        "semi_supervised": MethodEntry(
            "redwood.branches.label_budget.semi_supervised:SemiSupervised",
            "label_budget",
            "learns samples that stay without labels: pseudo-labels, consistency (Lee, 2013; Laine & Aila, 2017)",
        ),
    },
)
