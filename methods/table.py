"""The table of the methods: where each class is, what it targets, and what it does, in one line.

This file imports no method and no heavy library, so that `--help` and `list` answer at once. A test compares each
entry with its class. Methods of a branch stand in the table of the branch, `branches/NAME/table.py`.
"""

from collections.abc import Mapping

from redwood.core.branches import OF_METHODS, MethodEntry, own_branches
from redwood.core.registry import known_names

ENTRY_POINTS = OF_METHODS  # other packages add methods under this name

_OF_THE_TRUNK: dict[str, MethodEntry] = {
    "random": MethodEntry(
        "redwood.methods.baselines:Random",
        "redwood.settings.base:Setting",
        "guesses at random: the floor",
    ),
    "finetune": MethodEntry(
        "redwood.methods.baselines:Finetune",
        "continual",
        "trains on each incoming batch alone: the lower bound",
    ),
    "stable_sgd": MethodEntry(
        "redwood.methods.baselines:StableSGD",
        "continual",
        "fine-tuning with dropout, a decaying learning rate and small batches (Mirzadeh et al., 2020)",
    ),
    "joint": MethodEntry(
        "redwood.methods.baselines:Joint",
        "cumulative",
        "trains from new weights on the data of all tasks so far: the upper bound",
    ),
    "rehearsal": MethodEntry(
        "redwood.methods.replay.rehearsal:Rehearsal",
        "continual",
        "experience replay: trains on each batch together with samples of a buffer (Chaudhry et al., 2019)",
    ),
    "async_rehearsal": MethodEntry(
        "redwood.methods.replay.async_rehearsal:AsyncRehearsal",
        "continual",
        "replays from the buffers of all workers, one step ahead (Bouvier et al., 2024)",
    ),
    "er_ace": MethodEntry(
        "redwood.methods.replay.er_ace:ERACE",
        "continual",
        "replay with asymmetric cross-entropy (Caccia et al., 2022)",
    ),
    "der": MethodEntry(
        "redwood.methods.replay.der:DER",
        "continual",
        "dark experience replay: replays the outputs that the network gave earlier (Buzzega et al., 2020)",
    ),
    "der_pp": MethodEntry(
        "redwood.methods.replay.der:DERpp",
        "continual",
        "dark experience replay of outputs and of labels (Buzzega et al., 2020)",
    ),
    "agem": MethodEntry(
        "redwood.methods.replay.agem:AGEM",
        "continual",
        "averaged gradient episodic memory: never steps against the gradient of the buffer (Chaudhry et al., 2019)",
    ),
    "mir": MethodEntry(
        "redwood.methods.replay.mir:MIR",
        "continual",
        "replays the samples whose loss the next step would raise most (Aljundi et al., 2019)",
    ),
    "gdumb": MethodEntry(
        "redwood.methods.replay.gdumb:GDumb",
        "continual",
        "keeps a balanced memory and trains on it from new weights (Prabhu et al., 2020)",
    ),
    "icarl": MethodEntry(
        "redwood.methods.distillation.icarl:ICaRL",
        "class_incremental",
        "nearest mean of herded exemplars, on features trained with distillation (Rebuffi et al., 2017)",
    ),
    "hybrid1": MethodEntry(
        "redwood.methods.distillation.icarl:Hybrid1",
        "class_incremental",
        "`icarl` that predicts the class of the highest output (Rebuffi et al., 2017)",
    ),
    "fixed": MethodEntry(
        "redwood.methods.distillation.lwf_mc:Fixed",
        "class_incremental",
        "freezes the representation after the first task (Rebuffi et al., 2017)",
    ),
    "lwf": MethodEntry(
        "redwood.methods.distillation.lwf:LwF",
        "class_incremental",
        "learning without forgetting: keeps the old network's outputs on new samples (Li & Hoiem, 2016)",
    ),
    "lwf_mc": MethodEntry(
        "redwood.methods.distillation.lwf_mc:LwFMC",
        "class_incremental",
        "multi-class learning without forgetting, with one sigmoid per class (Rebuffi et al., 2017)",
    ),
    "two_side": MethodEntry(
        "redwood.methods.distillation.two_side:TwoSide",
        "class_incremental",
        "classification and distillation, weighted by the numbers of classes (Wu et al., 2019)",
    ),
    "bic": MethodEntry(
        "redwood.methods.distillation.bic:BiC",
        "class_incremental",
        "replay, distillation, and a bias correction learned on held-out samples (Wu et al., 2019)",
    ),
    "wa": MethodEntry(
        "redwood.methods.distillation.wa:WA",
        "class_incremental",
        "replay, distillation, and weight aligning (Zhao et al., 2020)",
    ),
    "ewc": MethodEntry(
        "redwood.methods.regularisation.ewc:EWC",
        "class_incremental",
        "elastic weight consolidation, per task or online (Kirkpatrick et al., 2017; Schwarz et al., 2018)",
    ),
    "si": MethodEntry(
        "redwood.methods.regularisation.si:SI",
        "class_incremental",
        "synaptic intelligence (Zenke et al., 2017)",
    ),
    "mas": MethodEntry(
        "redwood.methods.regularisation.mas:MAS",
        "class_incremental",
        "memory-aware synapses (Aljundi et al., 2018)",
    ),
    "rwalk": MethodEntry(
        "redwood.methods.regularisation.rwalk:RWalk",
        "class_incremental",
        "Riemannian walk: the importances of `ewc` and of `si` together (Chaudhry et al., 2018)",
    ),
    "packnet": MethodEntry(
        "redwood.methods.architecture.packnet:PackNet",
        "task_incremental",
        "prunes each task's weights, freezes the rest, and trains the next task on the pruned ones; "
        "no forgetting (Mallya & Lazebnik, 2018)",
    ),
    "hat": MethodEntry(
        "redwood.methods.architecture.hat:HAT",
        "task_incremental",
        "a gate per hidden unit and task; weights between units in use are frozen; no forgetting (Serra et al., 2018)",
    ),
    "pnn": MethodEntry(
        "redwood.methods.architecture.pnn:PNN",
        "task_incremental",
        "progressive networks: one column per task reads the frozen earlier ones; no forgetting (Rusu et al., 2016)",
    ),
    "ppo": MethodEntry(
        "redwood.methods.agents.on_policy:PPO",
        "continual_rl",
        "proximal policy optimization of Stable-Baselines3 (Schulman et al., 2017)",
    ),
    "a2c": MethodEntry(
        "redwood.methods.agents.on_policy:A2C",
        "continual_rl",
        "advantage actor-critic of Stable-Baselines3 (Mnih et al., 2016)",
    ),
    "dqn": MethodEntry(
        "redwood.methods.agents.off_policy:DQN",
        "continual_rl",
        "deep Q-network of Stable-Baselines3, for discrete actions (Mnih et al., 2015)",
    ),
    "sac": MethodEntry(
        "redwood.methods.agents.off_policy:SAC",
        "continual_rl",
        "soft actor-critic of Stable-Baselines3, for continuous actions (Haarnoja et al., 2018)",
    ),
    "td3": MethodEntry(
        "redwood.methods.agents.off_policy:TD3",
        "continual_rl",
        "twin delayed policy gradients of Stable-Baselines3, for continuous actions (Fujimoto et al., 2018)",
    ),
}

# Those of redwood's own branches follow.
METHODS: dict[str, MethodEntry] = _OF_THE_TRUNK | {
    key: entry for branch in own_branches().values() for key, entry in branch.methods.items()
}

# A plus sign joins these to an agent, as in dqn+ewc. Some share their key with the method whose idea they carry over.
AGENT_PARTS: dict[str, MethodEntry] = {
    "ewc": MethodEntry(
        "redwood.methods.agents.weight_penalty:AgentEWC",
        "incremental_rl",
        "elastic weight consolidation of the weights that choose actions (Kirkpatrick et al., 2017)",
    ),
    "l2": MethodEntry(
        "redwood.methods.agents.weight_penalty:AgentL2",
        "incremental_rl",
        "pulls all weights equally to their values after the last task",
    ),
    "mas": MethodEntry(
        "redwood.methods.agents.weight_penalty:AgentMAS",
        "incremental_rl",
        "memory aware synapses of the weights that choose actions (Aljundi et al., 2018)",
    ),
    "cloning": MethodEntry(
        "redwood.methods.agents.cloning:AgentCloning",
        "incremental_rl",
        "clones the policies of old tasks on stored observations (Wolczyk et al., 2022)",
    ),
    "agem": MethodEntry(
        "redwood.methods.agents.cloning:AgentAGEM",
        "incremental_rl",
        "projects gradients that move away from the policies of old tasks (Chaudhry et al., 2019)",
    ),
    "packnet": MethodEntry(
        "redwood.methods.agents.packnet:AgentPackNet",
        "task_incremental_rl",
        "prunes each task's weights, freezes the rest, and trains the next task on the pruned ones "
        "(Mallya & Lazebnik, 2018)",
    ),
    "perfect_memory": MethodEntry(
        "redwood.methods.agents.replay_parts:AgentPerfectMemory",
        "continual_rl",
        "keeps every step of the run in the replay memory",
    ),
    "best_return": MethodEntry(
        "redwood.methods.agents.exploration:AgentBestReturn",
        "task_incremental_rl",
        "explores each task with the best policy of the old tasks; with cloning it is ClonEx (Wolczyk et al., 2022)",
    ),
    "reset_critic": MethodEntry(
        "redwood.methods.agents.critic_reset:AgentResetCritic",
        "incremental_rl",
        "gives critics new weights at the start of each task",
    ),
    "reset_buffer": MethodEntry(
        "redwood.methods.agents.replay_parts:AgentResetBuffer",
        "incremental_rl",
        "empties the replay memory at the start of each task",
    ),
    "rehearsal": MethodEntry(
        "redwood.methods.agents.replay_parts:AgentRehearsal",
        "continual_rl",
        "learns from a small memory that holds a random subset of all steps so far (Isele & Cosgun, 2018)",
    ),
    "scratch": MethodEntry(
        "redwood.methods.agents.scratch:AgentScratch",
        "incremental_rl",
        "starts each task with new weights and an empty memory",
    ),
}


def references(table: Mapping[str, MethodEntry]) -> dict[str, str]:
    """`module:Name` of each class, by key."""
    return {key: entry.reference for key, entry in table.items()}


def agent_hint(method: str, rewards: bool) -> str:
    """Suggest another method for one that does not apply to a setting, with or without rewards."""
    if method in AGENT_PARTS and rewards:
        return f" In environments, join it to an agent, as in dqn+{method}."
    return ""


def bound_hint(method: str, child: str) -> str:
    """Say where an upper bound can be had, of which a setting's `child` gives it the data that the setting does not."""
    return (
        f" Write --setting {child} --method {method}, or --method finetune,{method} to show it beside finetune as the "
        "upper bound; training once on all tasks is --setting traditional --method finetune."
    )


def known_methods() -> dict[str, str]:
    """`module:Name` of all methods by key, other packages' included."""
    return known_names("method", references(METHODS), ENTRY_POINTS)


def method_names() -> list[str]:
    """The keys of all methods, other packages' included."""
    return list(known_methods())
