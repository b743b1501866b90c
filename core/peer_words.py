"""The words of Avalanche, Mammoth and Sequoia for what redwood has under another name: one table.

An error about an unknown name answers with the word of redwood. The command line accepts a word that means exactly the
same. A name that redwood, a package or the user has given comes first: only unknown names are looked up here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from redwood.core.keywords import as_keywords


class Word(NamedTuple):
    """What a word of another library is in redwood.

    Attributes:
        ours: The command line, or the part of it, that says the same or the nearest.
        note: The answer to the word; empty if it means exactly what `ours` says.
    """

    ours: str
    note: str = ""


_TASKS = "the number of tasks is an option; write {}"
_FOLDER = Word("--dataset FOLDER", "redwood reads these images from a folder of class folders; write {}")
_RUN = Word("--setting S --method M", "a run needs no command word; write {}")

# For each kind of name: words with spaces between them. Hyphens, underscores and capitals do not count.
TABLE: Mapping[str, Mapping[str, Word]] = {
    "method": {
        "naive sgd": Word("--method finetune"),
        "base base_method baseline": Word("--method finetune", "the plain learner is finetune; write {}"),
        "er experience_replay": Word("--method rehearsal"),
        "replay": Word(
            "--method rehearsal --buffer_policy class_balanced --buffer_sampler old_tasks",
            "write rehearsal; as Avalanche draws, it is {}",
        ),
        "cumulative": Word("--setting cumulative --method finetune", "in redwood this is a setting; write {}"),
        "joint_training offline": Word(
            "--setting traditional --method finetune", "all tasks at once are a setting; write {}"
        ),
        "der++": Word("--method der_pp"),
        "xder xder_ce xder_rpc": Word("--method der_pp", "redwood has no xder; the nearest is {}"),
        "gem": Word("--method agem", "redwood has no gem; the nearest is {}, with one constraint for all tasks"),
        "agem_r": Word("--method agem"),
        "gss": Word("--method mir", "redwood has no gss; the nearest is {}, which chooses what it draws"),
        "er_aml": Word("--method er_ace", "redwood has no er_aml; the nearest is {}"),
        "mer": Word("--method rehearsal", "redwood has no mer; the nearest is {}"),
        "synaptic_intelligence": Word("--method si"),
        "ewc_on online_ewc": Word("--method ewc"),
        "learning_without_forgetting": Word("--method lwf"),
        "lucir podnet": Word("--method bic", "redwood has neither lucir nor podnet; the nearest is {}"),
        "progressive_nets": Word("--method pnn"),
        "l2p learning_to_prompt dualprompt coda_prompt slca": Word(
            "--model timm:NAME --trainable lora",
            "redwood has no prompts for a pretrained network; the nearest is {} with another method",
        ),
        "la_maml": Word("", "redwood has no la_maml"),
        "random_baseline": Word("--method random"),
        "ddpg sb3.ddpg": Word("--method td3", "redwood has no ddpg; the nearest is {}"),
        **{f"sb3.{agent}": Word(f"--method {agent}") for agent in ("ppo", "a2c", "dqn", "sac", "td3")},
    },
    "setting": {
        "class_il cil incremental_sl class_incremental_sl": Word("--setting class_incremental"),
        "domain_il dil domain_incremental_sl": Word("--setting domain_incremental"),
        "task_il til task_incremental_sl": Word("--setting task_incremental"),
        "continual_sl": Word("--setting continual"),
        "general_continual task_free": Word("--setting continual", "nothing is announced in {}; write that"),
        "discrete_task_agnostic_sl": Word("--setting task_agnostic"),
        "discrete_task_agnostic_rl": Word("--setting task_agnostic_rl"),
        "traditional_sl iid offline": Word("--setting traditional"),
        "multi_task_sl": Word("--setting multi_task"),
        "joint": Word("--setting traditional --method finetune", "all tasks at once are {}"),
        "nc new_classes incremental": Word(
            "--setting class_incremental", "write {}, or task_incremental if the task is told at test"
        ),
        "ni new_instances data_incremental": Word(
            "--setting domain_incremental --stream instance", "tasks that share all classes are {}"
        ),
        "online ocl online_cil": Word("--setting online_class_incremental", "one pass in tasks of classes is {}"),
    },
    "data set": {
        "split_mnist seq_mnist": Word("--dataset mnist"),
        "split_fmnist split_fashion_mnist fmnist": Word("--dataset fashion_mnist"),
        "split_cifar10 seq_cifar10": Word("--dataset cifar10"),
        "split_cifar100 seq_cifar100": Word("--dataset cifar100 --nb_tasks 10", _TASKS),
        "split_tiny_imagenet seq_tinyimg": Word("--dataset tiny_imagenet --nb_tasks 10", _TASKS),
        "perm_mnist permuted_mnist": Word(
            "--setting domain_incremental --dataset mnist --stream permuted --nb_tasks 20", "the permutation is {}"
        ),
        "rot_mnist rotated_mnist": Word(
            "--setting domain_incremental --dataset mnist --stream rotated --nb_tasks 20", "the rotation is {}"
        ),
        "mnist_360": Word(
            "--setting continual --dataset mnist --stream rotated --transition gradual",
            "redwood has no mnist_360; the nearest is {}",
        ),
        "imagenet split_imagenet seq_imagenet_r split_cub200 seq_cub200": _FOLDER,
    },
    "option": {
        "epochs n_epochs num_epochs train_epochs max_epochs": Word("--passes"),
        "n_iters fitting_mode": Word("--passes", "redwood counts passes over the samples of a task; write {}"),
        "learning_rate": Word("--lr"),
        "lr": Word("--learning_rate"),
        "train_mb_size": Word("--batch_size"),
        "minibatch_size batch_size_mem": Word(
            "--replay_ratio", "redwood takes the ratio of replayed to incoming samples; write {}"
        ),
        "eval_mb_size": Word("", "tests take batches of --batch_size; leave it out"),
        "mem_size memory_size": Word("--buffer_size"),
        "n_tasks num_tasks n_experiences": Word("--nb_tasks"),
        "n_classes_per_task per_exp_classes": Word("--increment"),
        "fixed_class_order": Word("--class_order"),
        "permute_classes": Word("--class_order_seed", "classes always come in a drawn order; its seed is {}"),
        "task_order": Word(
            "--class_order",
            "tasks of your own come in the order of their numbers t or of their list, and classes in that of {}",
        ),
        "rotations_list": Word("--angles", "the angles are options of a stream; write --stream rotated {}"),
        "return_task_id task_labels": Word("--setting task_incremental", "the task is told by a setting; write {}"),
        "optim_wd": Word("--weight_decay"),
        "optim_mom": Word("--momentum"),
        "optim_nesterov": Word("--nesterov"),
        "lr_milestones": Word("--milestones"),
        "lr_scheduler": Word("--lr_schedule"),
        "early_stopping_patience": Word(
            "--patience", "{} is the number of passes without a better score of --validation"
        ),
        "e_lambda": Word(
            "--ewc_lambda X --importance_scale none",
            "redwood scales importances by their mean; for the papers' scale, write {}",
        ),
        "backbone": Word("--model"),
        "pretrained": Word("--weights FILE", "redwood downloads no weights; write {} with a saved state dict"),
        "metrics evaluation plugins": Word(
            "", "a score of your own is computed after the run; see docs/trained_models.md, 'A score of your own'"
        ),
        "figures": Word("report DIR --figures pdf", "the pictures of a finished run are drawn anew by {}"),
        "dataset_root base_path": Word("--data_dir", "data lies in {}, and runs lie in --run_dir"),
        "results_path": Word("--run_dir", "a run writes to {}"),
        "device": Word("--accelerator", "write {} cpu or gpu, and --devices 0 for the first GPU"),
        "non_verbose": Word("--quiet", "write {}"),
        "nowand": Word("--wandb", "runs log to Weights & Biases only with {} online; leave it out"),
        "wandb_project": Word("--project", "write {} NAME beside --wandb online or offline"),
        "eval_future": Word("--eval_tasks all", "all tasks are tested unless --eval_tasks says less; leave it out"),
        "savecheck": Word("--keep_checkpoints all", "the last checkpoint is kept; for all of them, write {}"),
        "loadcheck": Word("resume DIR", "a stopped run goes on with {}"),
        "load_best_args model_config": Word("--preset NAME", "published options are presets; write {}"),
        "inference_only": Word("predict DIR --dataset D", "a finished run predicts with {}"),
        "joint": Word("--setting traditional --method finetune", "all tasks at once are a setting; write {}"),
        "upper_bound": Word("--method M,joint", "the upper bound is a method beside others; write {}"),
        "methods strategy": Word("--method"),
        "settings": Word("--setting"),
        "scenario": Word("--setting", "the protocol is {}, such as class_incremental, and the data is --dataset"),
        "benchmark": Word("--setting S --dataset D", "a benchmark is a setting with its data; write {}"),
    },
    "lr_schedule": {
        "multisteplr multi_step": Word("--lr_schedule milestones"),
        "cosine_annealing cosine_annealing_lr": Word("--lr_schedule cosine"),
    },
    "command": {
        "train run fit main main.py": _RUN,
        "eval evaluate test": Word(
            "predict DIR --dataset D", "a run tests itself after each phase; new samples take {}"
        ),
        "info": Word("list", "settings and methods are listed by {}"),
        "continue": Word("resume DIR", "a stopped run goes on with {}"),
        "compare": Word("--method ewc,rehearsal", "several methods or settings are one command; write {}"),
    },
}


# What users of Python look for among the names of the package, and the call of redwood for it.
CALLS: Mapping[str, str] = {
    "train fit main": "redwood.run(setting, method)",
    "eval evaluate test predict": "redwood.load(folder).predict(x)",
    "continue restart": "redwood.resume(folder)",
    "extend": "redwood.load(folder).learn(data)",
    "benchmark experiment": "redwood.compare(settings, methods)",
    "info list": "help(redwood.settings) and redwood.methods.method_names()",
}


def plain(name: str) -> str:
    """A name without capitals, hyphens and underscores, for comparisons."""
    return re.sub(r"[-_]", "", name.lower())


_INDEX = {
    kind: {plain(word): found for words, found in entries.items() for word in words.split()}
    for kind, entries in TABLE.items()
}


def same(kind: str, word: str) -> str | None:
    """The name of redwood that means exactly what a word does; None if there is none.

    Args:
        kind: The kind of name; those that `TABLE` has no words for have no such name.
        word: The word; an option is given without dashes.
    """
    found = _INDEX.get(kind, {}).get(plain(word))
    return found.ours.rpartition(" ")[2].lstrip("-") if found and not found.note else None


def answer(kind: str, word: str, known: Iterable[str] | None = None, whose: str = "") -> str | None:
    """One sentence that says what a word of another library is in redwood; None if no such word is known.

    Args:
        kind: The kind of name, in the words of an error. Those that `TABLE` has no words for have no answer.
        word: The word; an option is given without dashes.
        known: Of an option: the options that there are.
        whose: Of an option: what has these.
    """
    found = _INDEX.get(kind, {}).get(plain(word)) or (_data_as_setting(word) if kind == "setting" else None)
    if found is None:
        return None
    given = {"option": f"--{word}", "command": f"There is no command {word}", "data set": f"--dataset {word}"}.get(
        kind, f"--{kind} {word}"
    )
    if found.note:
        return f"{given}: {found.note.format(found.ours)}."
    if known is not None and found.ours not in known:
        if any(other.ours == given for other in _INDEX["option"].values()):
            return None  # an option of other pairs
        return f"{given} is {found.ours} in redwood, which {whose} does not have; leave it out."
    return f"{given} is {found.ours} in redwood; write that."


def in_python(word: str) -> str | None:
    """What a word of another library is in Python, as part of a sentence; None if no such word is known."""
    calls = {plain(name): call for names, call in CALLS.items() for name in names.split()}
    if plain(word) in calls:
        return f"in redwood it is {calls[plain(word)]}"
    kinds = ("method", "setting", "data set")
    found = next((_INDEX[kind][plain(word)] for kind in kinds if plain(word) in _INDEX[kind]), None)
    if found is None:
        return None
    keywords = as_keywords(found.ours)
    told = found.note.format(keywords) if found.note else f"in redwood it is {keywords}"
    return f"{told}; give it to redwood.run" if keywords else told


def _data_as_setting(word: str) -> Word | None:
    """A benchmark that was given as a setting."""
    found = _INDEX["data set"].get(plain(word))
    if found is None:
        return None
    ours = found.ours if found.ours.startswith("--setting") else f"--setting class_incremental {found.ours}"
    return Word(ours, "a setting and its data are two options; write {}")
