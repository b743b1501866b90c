"""Words whose meanings drift: continual word vectors by skip-gram, fine-tuned or with replay of old word pairs.

The text is generated, in periods. Topics come up and fade; some words move from one topic to another, as "cloud" did.
Vectors are learned period after period by skip-gram with negative sampling (Mikolov et al., 2013). There is room for
the most frequent words only: after each period, words that are rare by now leave this keyword set, and the word that
enters takes over a row. Replay keeps a random sample of all word pairs so far in a `RehearsalBuffer`.

Run: python examples/drifting_words.py [drifting_words.png]
"""

import sys
from collections import Counter
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from redwood.buffers import RehearsalBuffer

TOPICS = {
    "weather": "rain wind storm sunny fog thunder snow forecast",
    "fruit": "juice orchard peach ripe banana sweet harvest basket",
    "river": "water bank flow fish bridge boat shore current",
    "office": "fax memo desk clerk typewriter folder carbon paper",
    "computing": "server laptop software storage network login update phone",
    "media": "video song podcast episode playlist viewer channel clip",
}
# How much of the text of each period is about each topic.
SHARES = {
    "weather": (3, 3, 0, 0),
    "fruit": (3, 3, 0, 0),
    "river": (3, 3, 0, 0),
    "office": (3, 1, 0, 0),
    "computing": (0, 2, 4, 4),
    "media": (0, 0, 3, 4),
}
# Words that change their topic: the old one and the new one, with the share of the new one in each period.
MOVING = {
    "cloud": ("weather", "computing"),
    "apple": ("fruit", "computing"),
    "stream": ("river", "media"),
}
MOVED = (0.0, 0.3, 0.9, 1.0)
PERIODS = len(MOVED)
SENTENCE = 8
WORDS = [*(word for words in TOPICS.values() for word in words.split()), *MOVING]
NUMBER = {word: number for number, word in enumerate(WORDS)}
TOPIC_OF = {word: topic for topic, words in TOPICS.items() for word in words.split()}


def sentences(period: int, n: int, random: torch.Generator) -> list[list[str]]:
    """`n` sentences of a period, each about one topic."""
    names = list(TOPICS)
    shares = torch.tensor([SHARES[name][period] for name in names], dtype=torch.float)
    text = []
    for number in torch.multinomial(shares, n, replacement=True, generator=random).tolist():
        words, weights = TOPICS[names[number]].split(), [1.0] * 8
        for word, (old, new) in MOVING.items():
            weight = {old: 1 - MOVED[period], new: MOVED[period]}.get(names[number], 0.0)
            words, weights = [*words, word], [*weights, 1.5 * weight]
        drawn = torch.multinomial(torch.tensor(weights), SENTENCE, replacement=True, generator=random)
        text.append([words[place] for place in drawn.tolist()])
    return text


def pairs_of(text: list[list[str]], window: int = 2) -> Tensor:
    """Each word with each of its neighbours in the sentence: numbers of words (n, 2)."""
    return torch.tensor(
        [
            (NUMBER[word], NUMBER[sentence[other]])
            for sentence in text
            for place, word in enumerate(sentence)
            for other in range(max(0, place - window), min(len(sentence), place + window + 1))
            if other != place
        ]
    )


class Keywords:
    """The words that there is room for: the most frequent ones, older text counting for less.

    Attributes:
        size: How many words there is room for.
        row: The row of each word (words,); -1 for words outside the set.
        counts: How often each word came up (words,), faded from period to period.
    """

    def __init__(self, size: int, fading: float = 0.5) -> None:
        self.size = size
        self.row = torch.full((len(WORDS),), -1)
        self.counts = torch.zeros(len(WORDS))
        self._fading = fading

    def update(self, text: list[list[str]]) -> tuple[list[str], list[str]]:
        """Take in a period; the words that enter and those that leave."""
        found = Counter(word for sentence in text for word in sentence)
        self.counts = self._fading * self.counts + torch.tensor([float(found[word]) for word in WORDS])
        top = torch.zeros(len(WORDS), dtype=torch.bool)
        top[self.counts.topk(self.size).indices] = True
        top &= self.counts > 0
        leaving, entering = (self.row >= 0) & ~top, top & (self.row < 0)
        free = sorted(set(range(self.size)) - set(self.row[(self.row >= 0) & top].tolist()))
        self.row[leaving] = -1
        self.row[entering] = torch.tensor(free[: int(entering.sum())], dtype=torch.long)
        return named(entering), named(leaving)

    def words(self) -> list[str]:
        """All words of the set."""
        return named(self.row >= 0)


def named(chosen: Tensor) -> list[str]:
    """The words that are marked (words,)."""
    return [WORDS[number] for number in chosen.nonzero()[:, 0].tolist()]


@dataclass
class Vectors:
    """Skip-gram with negative sampling: log s(u_w . v_c) + sum over negatives of log s(-u_w . v_n) is maximised.

    Attributes:
        keywords: The words that have a row.
        buffer: Word pairs of the text so far; None: fine-tuning.
    """

    keywords: Keywords
    buffer: RehearsalBuffer | None
    dim: int = 6
    negatives: int = 5
    batch: int = 128
    lr: float = 0.05

    def __post_init__(self) -> None:
        size = self.keywords.size
        self.word = (0.5 * torch.randn(size, self.dim)).requires_grad_()
        self.context = torch.zeros(size, self.dim, requires_grad=True)

    def enter(self, words: list[str]) -> None:
        """Give words that have just entered the set new vectors, in place of those of words that left."""
        rows = self.keywords.row[[NUMBER[word] for word in words]]
        with torch.no_grad():
            self.word[rows] = 0.5 * torch.randn(len(rows), self.dim)
            self.context[rows] = 0.0

    def learn(self, pairs: Tensor, passes: int) -> None:
        """Train on the word pairs (n, 2) of a period, together with as many old ones."""
        optimizer = torch.optim.Adam([self.word, self.context], self.lr)
        for number in range(passes):
            for rows in torch.randperm(len(pairs)).split(self.batch):
                batch = pairs[rows]
                if self.buffer is not None:
                    new = {"x": batch, "y": torch.zeros(len(batch), dtype=torch.long)}
                    if len(self.buffer):
                        batch = torch.cat([batch, self.buffer.sample(len(batch))["x"]])
                    if number == 0:
                        self.buffer.add(new)
                optimizer.zero_grad()
                self.loss(batch).backward()
                optimizer.step()

    def loss(self, pairs: Tensor) -> Tensor:
        """The loss of those pairs (n, 2) of which both words are in the set; negatives are from other pairs."""
        rows = self.keywords.row[pairs]
        rows = rows[(rows >= 0).all(1)]
        negatives = rows[torch.randint(len(rows), (len(rows), self.negatives)), 1]
        word, context = self.word[rows[:, 0]], self.context[rows[:, 1]]
        against = (self.context[negatives] @ word[:, :, None])[:, :, 0]
        return -(logsigmoid((word * context).sum(1)) + logsigmoid(-against).sum(1)).mean()

    def neighbours(self, word: str, n: int = 5) -> list[str]:
        """The words of the set with the nearest vectors, by their cosine."""
        members = [other for other in self.keywords.words() if other != word]
        vectors = normalize(self.word.detach())
        rows = self.keywords.row[[NUMBER[other] for other in members]]
        likeness = vectors[rows] @ vectors[self.keywords.row[NUMBER[word]]]
        return [members[place] for place in likeness.topk(n).indices.tolist()]


def share_of_topic(vectors: Vectors, place: int) -> float:
    """Of the neighbours of moving words, the share that is of their old topic (place 0) or of their new one (1)."""
    return mean(mean(TOPIC_OF.get(near) == MOVING[word][place] for near in vectors.neighbours(word)) for word in MOVING)


@torch.no_grad()
def told_apart(vectors: Vectors, pairs: Tensor) -> float:
    """How often a real neighbour in a text, given as pairs (n, 2), scores higher than a random word of the set."""
    rows = vectors.keywords.row[pairs]
    rows = rows[(rows >= 0).all(1)]
    members = vectors.keywords.row[vectors.keywords.row >= 0]
    others = members[torch.randint(len(members), (len(rows),))]
    word = vectors.word[rows[:, 0]]
    right, wrong = ((word * vectors.context[context]).sum(1) for context in (rows[:, 1], others))
    return float((right > wrong).float().mean())


MEASURED = ("text of period 1 told from noise", "moving words, old neighbours", "moving words, new neighbours")
Curves = dict[str, list[float]]


def learn(capacity: int, n_sentences: int, passes: int, size: int, seed: int, *, show: bool) -> Curves:
    """Learn period after period; what is `MEASURED` after each of them."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    keywords = Keywords(size)
    vectors = Vectors(keywords, RehearsalBuffer(capacity, seed=seed) if capacity else None)
    earlier = pairs_of(sentences(0, n_sentences, random))  # text of the first period that nothing is trained on
    curves: Curves = {name: [] for name in MEASURED}
    for period in range(PERIODS):
        text = sentences(period, n_sentences, random)
        entered, left = keywords.update(text)
        vectors.enter(entered)
        vectors.learn(pairs_of(text), passes)
        found = (told_apart(vectors, earlier), share_of_topic(vectors, 0), share_of_topic(vectors, 1))
        for name, value in zip(MEASURED, found, strict=True):
            curves[name].append(value)
        if show:
            print(f"period {period + 1}\n  in:  {' '.join(entered) or '-'}\n  out: {' '.join(left) or '-'}")
            for word in MOVING:
                print(f"  {word:<7} {' '.join(vectors.neighbours(word))}")
    return curves


def draw(found: dict[str, Curves], path: str) -> None:
    """One panel for each measure."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(MEASURED), figsize=(9, 2.6), layout="constrained")
    for axis, name in zip(axes, MEASURED, strict=True):
        for method, curves in found.items():
            axis.plot(range(1, PERIODS + 1), curves[name], marker="o", markersize=3, label=method)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("period", fontsize=8)
        axis.set_xticks(range(1, PERIODS + 1))
    axes[0].set_ylabel("share", fontsize=8)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(path: str = "", n_sentences: int = 300, passes: int = 6, size: int = 44, seeds: int = 3) -> dict[str, Curves]:
    """Compare fine-tuning with replay; the means over the seeds."""
    found = {}
    for method, capacity in (("fine-tuning", 0), ("replay", 2000)):
        print(f"{method}:")
        runs = [learn(capacity, n_sentences, passes, size, seed, show=not seed) for seed in range(seeds)]
        found[method] = {name: [mean(at) for at in zip(*(run[name] for run in runs), strict=True)] for name in MEASURED}
        for name, shares in found[method].items():
            print(f"  {name}: {' '.join(f'{share:.2f}' for share in shares)}")
    if path:
        draw(found, path)
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "drifting_words.png")
