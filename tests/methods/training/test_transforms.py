"""Transforms of torchvision by name, drawn anew for each image of a batch."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torchvision.transforms import v2

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.augmentations import crop_flip, flip, make_augmentation
from tests.methods.helpers import one_sentence
from tests.methods.training.test_augmentations import Watched, images, versions
from tests.samples import few_digits, numbered
from tests.small_runs import run_here, small_setting

COLOURS = Box(0, 255, (3, 16, 8), np.uint8)


def changed(augmentation, x, seed=0):
    change = make_augmentation(augmentation, Box(0, 255, x.shape[1:], x.numpy().dtype))
    torch.manual_seed(seed)
    return change(x)


class TestImages:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    @pytest.mark.parametrize(
        "name",
        [
            "RandomCrop((16, 8), padding=2)+RandomHorizontalFlip",
            "ColorJitter(0.4, 0.4, hue=.1)",
            "RandomApply([GaussianBlur(3), RandomGrayscale()], p=0.5)",
            "crop_flip + RandomErasing(1.0)",
        ],
    )
    def test_shape_and_dtype_are_kept_and_the_input_is_left_alone(self, name, dtype):
        x = (images(20) // (1 if dtype == torch.uint8 else 255)).to(dtype)
        before = x.clone()
        found = changed(name, x)
        assert (found.shape, found.dtype) == (x.shape, dtype)
        assert torch.equal(x, before)

    def test_each_image_gets_its_own_random_numbers(self):
        image = images(1)[0]
        found = changed("RandomCrop((16, 8), padding=(1, 2))+RandomHorizontalFlip", image.expand(600, -1, -1, -1))
        outcomes = list(versions(image, by_rows=2, by_columns=1).values())
        numbers = [next(n for n, one in enumerate(outcomes) if torch.equal(one, each)) for each in found]
        counts = torch.bincount(torch.tensor(numbers), minlength=30)
        assert float(((counts - 20) ** 2 / 20).sum()) < 58.3  # chi square, 29 degrees of freedom, alpha = 1e-3

    def test_they_stand_for_what_the_library_does(self):
        x = images(10)
        found = changed("RandomCrop((16, 8), padding=2)+ColorJitter(0.4)", x)
        torch.manual_seed(0)
        crop, jitter = v2.RandomCrop((16, 8), padding=2), v2.ColorJitter(0.4)
        cropped = torch.stack([crop(image) for image in x])
        assert torch.equal(found, torch.stack([jitter(image) for image in cropped]))

    def test_objects(self):
        x, both = images(10), [v2.RandomHorizontalFlip(), v2.ColorJitter(0.4)]
        named = changed("RandomHorizontalFlip+ColorJitter(.4)", x)
        assert torch.equal(changed(both, x), named)
        assert torch.equal(changed(lambda image: image.flip(-1), x), x.flip(-1))
        assert changed(v2.Compose(both), x).shape == x.shape

    def test_names_of_ours_stay_what_they_were(self):
        assert make_augmentation("crop_flip", COLOURS) is crop_flip
        found = changed("crop_flip+flip", x := images(9))
        torch.manual_seed(0)
        assert torch.equal(found, flip(crop_flip(x)))

    def test_an_empty_batch(self):
        assert changed("ColorJitter(.4)", images(5)[:0]).shape == (0, 3, 16, 8)


class TestInARun:
    def test_incoming_and_replayed_samples_are_changed_and_the_stored_ones_are_not(self):
        method = Watched(buffer_size=30, augmentation="RandomCrop(8, padding=2)")
        run_here(small_setting("class_incremental", passes=1), method)
        shares = {"incoming": [], "replayed": []}
        for (clean, n), found in zip(method.clean, method.trained_on, strict=True):
            differs = (clean != found).flatten(1).any(1).tolist()
            shares["incoming"] += differs[:n]
            shares["replayed"] += differs[n:]
        assert all(0.8 < sum(share) / len(share) < 1 for share in shares.values())
        originals = {x.numpy().tobytes() for x in few_digits().x}
        assert {x.numpy().tobytes() for x in method.buffer.all()["x"]} <= originals

    def test_the_same_seed_gives_the_same_run(self):
        runs = [Rehearsal(buffer_size=20, augmentation="ColorJitter(.4)+RandomRotation(20)") for _ in range(2)]
        for method in runs:
            run_here(small_setting("class_incremental", passes=1), method)
        assert all(map(torch.equal, *(list(method.network.parameters()) for method in runs)))

    def test_reference_samples_of_agem(self):
        run_here(small_setting("class_incremental"), AGEM(buffer_size=30, augmentation="RandomRotation(20)"))

    def test_on_two_workers(self, two_workers):
        first, second = two_workers.run(weights_of_a_worker, v2.RandomRotation(20))
        assert torch.equal(first, second)


def weights_of_a_worker(transform):
    method = Finetune(augmentation=transform)
    run_here(small_setting("class_incremental", workers=2, batch_size=8), method)
    return torch.cat([p.detach().flatten() for p in method.network.parameters()])


class TestRefusal:
    @pytest.mark.parametrize(
        ("augmentation", "message"),
        [
            (
                "ColorJiter(.4)",
                r"--augmentation ColorJiter is unknown \(did you mean ColorJitter\?\); choose one of none",
            ),
            ("RandomCrop", r"cannot be made \(missing a required argument: 'size'\); the arguments of RandomCrop are"),
            (
                "RandomCrop(8, pad=2)",
                r"RandomCrop\(8, pad=2\) cannot be made .*; the arguments of RandomCrop are size, p",
            ),
            ("RandomCrop(8, **{})", "cannot be made"),
            ("ColorJitter(-1)", r"--augmentation ColorJitter\(-1\) cannot be made"),
            (
                "RandomCrop(__import__('os').getpid())",
                r"has the argument __import__\('os'\).getpid\(\), which is no numb",
            ),
            ("__import__('os').getpid()", "has to be names joined by plus signs"),
            ("v2.ColorJitter(.4)", "has to be names joined by plus signs"),
            ("flip-flip", "has to be names joined by plus signs"),
            ("(", "has to be names joined by plus signs"),
            ("", "has to be names joined by plus signs"),
            (3, "--augmentation 3 is neither a name nor a transform"),
            (["flip"], "--augmentation 'flip' is neither a name nor a transform"),
            ([], "--augmentation .* holds no transform"),
        ],
    )
    def test_of_what_is_no_transform(self, augmentation, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            Finetune(augmentation=augmentation)
        assert one_sentence(error.value)

    @pytest.mark.parametrize(
        ("augmentation", "message"),
        [
            ("RandomCrop(7)", r"RandomCrop does not suit these images \(it makes \(1, 7, 7\) of uint8 of \(1, 8, 8\)"),
            ("Normalize([0.5], [0.5])", "Normalize does not suit these images"),
            ("MixUp(num_classes=10)", "MixUp does not suit these images"),
            ("ToPILImage", r"ToPILImage does not suit these images \(it makes an object of type Image"),
            (lambda image: image.float(), r"<lambda> does not suit these images"),
        ],
    )
    def test_of_what_changes_shape_or_type(self, augmentation, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            run_here(small_setting("class_incremental"), Finetune(augmentation=augmentation))
        assert one_sentence(error.value)

    def test_of_samples_that_are_no_images(self):
        with pytest.raises(InvalidOptionError, match=r"--augmentation ColorJitter\(.4\) is for images"):
            run_here(small_setting("class_incremental", dataset=numbered()), Finetune(augmentation="ColorJitter(.4)"))
