import torch

from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.distillation.lwf_mc import LwFMC
from redwood.settings import Blurry, ClassSplit
from tests.methods.helpers import configured
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


class Watched(LwFMC):
    """Looks at what a run of tasks (0-3), (4-6), (7-9) does to the outputs."""

    def configure(self, setting):
        super().configure(setting)
        self.heads_after, self.answers = [self.network.head.weight.detach().clone()], []

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.heads_after.append(self.network.head.weight.detach().clone())
        self.answers.append(self.predict(few_digits().x_test, None))


def watched(key="class_incremental"):
    method = Watched()
    run_here(small_setting(key, stream=ClassSplit(class_order=list(range(10)))), method)
    return method


class TestRun:
    def test_only_classes_seen_so_far_are_trained_and_predicted(self):
        method = watched()
        for n_seen, before, after, answer in zip(
            (4, 7, 10), method.heads_after, method.heads_after[1:], method.answers, strict=False
        ):
            assert torch.equal(before[n_seen:], after[n_seen:])
            assert bool((answer[:, n_seen:] == -torch.inf).all())
            assert bool(torch.isfinite(answer[:, :n_seen]).all())

    def test_before_the_first_task_any_class_may_be_right(self):
        assert bool(torch.isfinite(configured(LwFMC()).predict(few_digits().x_test, None)).all())

    def test_the_loss_is_that_of_icarl(self):
        assert ICaRL.loss is LwFMC.loss

    def test_old_outputs_are_held_by_the_teacher(self):
        """Without one, a class that no sample is of any more would be taught to say no."""
        x, y = few_digits().x, few_digits().y

        class Free(Watched):
            def loss(self, step):
                self._taught = torch.zeros_like(self._taught)
                return super().loss(step)

        means = []
        for cls in (Watched, Free):
            method = cls()
            run_here(
                small_setting("class_incremental", stream=ClassSplit(class_order=list(range(10))), passes=6), method
            )
            means.append(method.network(x[y < 4])[:, :4].amax(1).mean().item())
        assert means[0] > means[1] + 1

    def test_stray_samples_do_not_make_their_classes_those_of_the_phase(self):
        """Else nothing would be left to distil under blurry boundaries."""

        class Noting(LwFMC):
            def fit(self, phase):
                shown.append(sum(map(len, phase.task_classes.values())))
                super().fit(phase)
                taught.append(int(self._taught.sum()))

        taught, shown = [], []
        run_here(small_setting("class_incremental", transition=Blurry(blur=0.1)), Noting())
        assert max(shown) == 10, "samples of other tasks come in"
        assert taught == [0, 4, 7]
