from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.augmentations import AUGMENTATIONS, crop_flip, flip, none
from tests.methods.helpers import one_sentence
from tests.samples import few_digits, numbered
from tests.small_runs import run_here, small_setting


def images(n, channels=3, height=16, width=8):
    """Images whose pixels are all above 0, so that filled-up ones can be told apart."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)


def shifted(image, down, right):
    """An image (C, H, W) moved by so many pixels, zeros where it has been."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def versions(image, by_rows, by_columns):
    """All that an image may become, by what was done to it."""
    offsets = [(y, x) for y in range(-by_rows, by_rows + 1) for x in range(-by_columns, by_columns + 1)]
    moved = {offset: shifted(image, *offset) for offset in offsets}
    return {(*offset, mirror): m.flip(-1) if mirror else m for offset, m in moved.items() for mirror in (False, True)}


class TestImages:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_shape_and_dtype_are_kept_and_the_input_is_left_alone(self, name, dtype):
        x = images(20).to(dtype)
        before = x.clone()
        augmented = AUGMENTATIONS[name](x)
        assert (augmented.shape, augmented.dtype) == (x.shape, dtype)
        assert torch.equal(x, before)

    def test_half_of_the_images_are_mirrored(self):
        torch.manual_seed(0)
        x = images(2000)
        augmented = flip(x)
        same, mirrored = ((augmented == one).flatten(1).all(1) for one in (x, x.flip(-1)))
        assert bool((same ^ mirrored).all())
        assert abs(int(mirrored.sum()) - 1000) < 4 * 500**0.5

    def test_each_image_is_shifted_and_mirrored_by_itself_and_every_shift_occurs(self):
        torch.manual_seed(0)
        image = images(1)[0]
        outcomes = versions(image, by_rows=2, by_columns=1)
        counts = dict.fromkeys(outcomes, 0)
        for augmented in crop_flip(image.expand(3000, -1, -1, -1)):
            (found,) = [name for name, version in outcomes.items() if torch.equal(version, augmented)]
            counts[found] += 1
        assert len(counts) == 30
        chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
        assert chi_square < 58.3  # 29 degrees of freedom, alpha = 1e-3

    def test_each_image_becomes_a_version_of_its_own_content(self):
        for image, augmented in zip(x := images(30), crop_flip(x), strict=True):
            assert any(torch.equal(version, augmented) for version in versions(image, 2, 1).values())

    def test_images_too_small_to_be_shifted_are_mirrored(self):
        for image, augmented in zip(x := images(30, height=7, width=7), crop_flip(x), strict=True):
            assert any(torch.equal(version, augmented) for version in (image, image.flip(-1)))

    def test_changes_follow_from_the_global_seed(self):
        x, found = images(50), []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            found.append(crop_flip(x))
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])
        assert none(x) is x


@dataclass
class Watched(Rehearsal):
    """Notes samples as they came in or were stored, as they were trained on, and as they were predicted."""

    def configure(self, setting):
        super().configure(setting)
        self.clean, self.trained_on, self.predicted = [], [], []

    def augment(self, step):
        super().augment(step)
        self.clean.append((step.batch.x.clone(), step.n_incoming))

    def loss(self, step):
        self.trained_on.append(step.batch.x.clone())
        return super().loss(step)

    def predict(self, x, task_id):
        self.predicted.append(x.clone())
        return super().predict(x, task_id)


@pytest.fixture(scope="module")
def watched():
    method = Watched(buffer_size=30, augmentation="crop_flip")
    run_here(small_setting("class_incremental"), method)
    return method


class TestInARun:
    def test_incoming_and_replayed_samples_are_changed_anew_each_time(self, watched):
        changed = {"incoming": [], "replayed": []}
        for (clean, n), found in zip(watched.clean, watched.trained_on, strict=True):
            differs = (clean != found).flatten(1).any(1).tolist()
            changed["incoming"] += differs[:n]
            changed["replayed"] += differs[n:]
        for share in changed.values():
            assert len(share) > 200
            assert 0.8 < sum(share) / len(share) < 1  # 17 of 18 versions, if no digit looks like its mirror image
        clean, _ = watched.clean[5]
        for image, augmented in zip(clean, watched.trained_on[5], strict=True):
            assert any(torch.equal(version, augmented) for version in versions(image, 1, 1).values())

    def test_what_is_stored_is_unchanged(self, watched):
        originals = {x.numpy().tobytes() for x in few_digits().x}
        assert {x.numpy().tobytes() for x in watched.buffer.all()["x"]} <= originals

    def test_online_accuracy_is_that_of_unchanged_samples(self, watched):
        originals = {x.numpy().tobytes() for x in few_digits().x}
        shown = [x.numpy().tobytes() for batch in watched.predicted for x in batch]
        assert {x for x in shown if x in originals} == originals
        assert len(shown) == 160 + 4 * 100  # the test samples: before and after each phase

    def test_reference_samples_of_agem_are_changed_too(self):
        seen = []

        class Noting(AGEM):
            def reference_loss(self, replayed):
                loss = super().reference_loss(replayed)
                seen.append((replayed.rows["x"], self.given))
                return loss

            def logits(self, x, task_id):
                self.given = x
                return super().logits(x, task_id)

        run_here(small_setting("class_incremental"), Noting(buffer_size=30, augmentation="flip"))
        changed = [not torch.equal(stored, given) for stored, given in seen]
        assert len(changed) > 10
        assert all(changed)


class TestRefusal:
    @pytest.mark.parametrize("name", ["flip", "crop_flip"])
    def test_samples_that_are_no_images(self, name):
        with pytest.raises(InvalidOptionError, match=rf"--augmentation {name} is for images") as error:
            run_here(small_setting("class_incremental", dataset=numbered()), Finetune(augmentation=name))
        assert one_sentence(error.value)

    def test_unknown_names(self):
        with pytest.raises(InvalidOptionError, match="--augmentation blur is unknown; choose one of none, flip, crop"):
            Finetune(augmentation="blur")

    def test_none_beside_others(self):
        with pytest.raises(InvalidOptionError, match=r"--augmentation none\+flip joins none with others") as error:
            Finetune(augmentation="none+flip")
        assert one_sentence(error.value)
