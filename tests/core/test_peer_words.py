"""The table of words of other libraries: none of them is a word of redwood, and answers are one sentence."""

import pytest

import redwood
from redwood.core.errors import UnknownNameError, nearest
from redwood.core.peer_words import CALLS, TABLE, answer, in_python, plain, same
from redwood.experiments.command_line.arguments import commands
from redwood.methods.table import AGENT_PARTS, METHODS
from redwood.settings.data.table import DATASETS
from redwood.settings.table import SETTINGS

OURS = {"method": METHODS | AGENT_PARTS, "setting": SETTINGS, "data set": DATASETS, "command": commands()}
WORDS = [(kind, word) for kind, entries in TABLE.items() for words in entries for word in words.split()]


def test_no_word_stands_twice_or_is_redwoods():
    assert len({(kind, plain(word)) for kind, word in WORDS}) == len(WORDS) > 100
    taken = [(kind, word) for kind, word in WORDS if kind in OURS and plain(word) in map(plain, OURS[kind])]
    assert taken == []


def test_each_answer_is_one_sentence():
    for kind, word in WORDS:
        text = answer(kind, word, whose="M")
        assert text.endswith(".") and "{" not in text and ". " not in text, text
        assert len(text.split()) <= 30, text


def test_no_word_of_python_stands_twice():
    words = [plain(word) for words in CALLS for word in words.split()]
    assert len(set(words)) == len(words) and set(words).isdisjoint(map(plain, redwood.__all__))
    words += [word for kind, word in WORDS if kind in ("method", "setting", "data set")]
    assert all("--" not in in_python(word) for word in words)


def test_spelling_of_a_word_does_not_count():
    assert {same("data set", word) for word in ("split_mnist", "seq-mnist", "SplitMNIST")} == {"mnist"}
    assert same("method", "gem") is None, "the nearest method is not the same"


def test_an_option_of_other_pairs_is_no_word_of_others():
    assert answer("option", "lr", known=["--learning_rate"]) == "--lr is --learning_rate in redwood; write that."
    assert answer("option", "lr", known=[]) is None
    assert "which M does not have" in answer("option", "mem_size", known=[], whose="M")


def test_the_order_of_tasks_is_no_option():
    told = answer("option", "task_order", known=["--class_order"])
    assert told.startswith("--task_order: tasks of your own come in the order of their numbers t or of their list")
    assert told == answer("option", "task_order", known=[]), "also where tasks are not of classes"


def test_an_error_answers_from_python_too():
    answered = "--method naive is --method finetune in redwood; write that."
    assert str(UnknownNameError("method", "naive", METHODS)) == answered
    assert str(UnknownNameError("network", "naive", ["mlp"])).startswith("There is no network named 'naive'. Known")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        *(("EWC", "ewc"), ("er-ace", "er_ace"), ("rehersal", "rehearsal"), ("finetuning", "finetune"), ("ew", "ewc")),
        *((name, None) for name in ("fdr", "lwm", "hal", "cope", "scr", "cwr_star", "elephant")),
    ],
)
def test_a_suggestion_is_close_or_not_given(name, near):
    assert nearest(name, METHODS) == near
