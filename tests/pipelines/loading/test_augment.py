"""Colours change alike for all patches of a clip, as drawn for (seed, epoch, clip), and as each step says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from codecsieve.errors import ConfigError
from codecsieve.pipelines.loading.augment import GREY, Normalisation, Photometric, change_colours

NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "swap_probability": 0}
IDS = tuple(f"clip-{number}" for number in range(6))
DRAWN_BEFORE = [[0.738038, -0.067526, 0.163843], [0.122011, 0.797595, -0.08525], [-0.375629, 0.366395, 0.84359]]
HALF = Normalisation((0.5, 0.4, 0.3), (0.25, 0.5, 1.0))


def only(**strengths: float) -> Photometric:
    """One step, always."""
    return Photometric(**{**NOTHING, "probability": 1, **strengths})  # type: ignore[arg-type]


@pytest.fixture
def patches() -> Tensor:
    """Colours 60..195 of six clips, which no single step at the strengths below takes out of 0..255."""
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(60, 196, (6, 5, 3, 4, 4), dtype=np.uint8))


def grey(colours: Tensor) -> Tensor:
    return (colours * torch.tensor(GREY)[:, None, None]).sum(2)


def test_the_same_is_drawn_for_a_clip_whatever_its_batch() -> None:
    recipe = Photometric()
    together = recipe.draw(3, 7, IDS)
    alone = [recipe.draw(3, 7, [clip_id]) for clip_id in IDS]
    np.testing.assert_array_equal(together.matrix, np.concatenate([change.matrix for change in alone]))
    np.testing.assert_array_equal(together.shift, np.concatenate([change.shift for change in alone]))


def test_seed_epoch_and_clip_each_draw_anew() -> None:
    recipe = only(brightness=0.4)
    drawn = [recipe.draw(seed, epoch, IDS).matrix[:, 0, 0].tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(itertools.chain.from_iterable(drawn))) == 4 * len(IDS)


def test_a_draw_stays_what_it_was_in_earlier_versions() -> None:
    change = Photometric().draw(0, 0, ["clip-0"])
    np.testing.assert_allclose(change.matrix[0], DRAWN_BEFORE, atol=1e-5)
    assert change.shift[0] == pytest.approx(0.286173, abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_strength_zero_is_the_identity(patches: Tensor, seed: int) -> None:
    assert torch.equal(change_colours(patches, only().draw(seed, 0, IDS), None), patches)


def test_probability_zero_is_the_identity(patches: Tensor) -> None:
    change = Photometric(probability=0, swap_probability=0).draw(0, 0, IDS)
    assert torch.equal(change_colours(patches, change, None), patches)


def test_a_channel_swap_is_a_permutation_and_never_the_identity(patches: Tensor) -> None:
    change = only(swap_probability=1).draw(0, 0, [str(number) for number in range(60)])
    swaps = {tuple(matrix.argmax(1).tolist()) for matrix in change.matrix}
    assert swaps == set(itertools.permutations(range(3))) - {(0, 1, 2)}

    swapped = change_colours(patches, only(swap_probability=1).draw(0, 0, IDS), None)
    for clip, other in zip(patches, swapped, strict=True):
        assert any(torch.equal(other, clip[:, list(order)]) for order in swaps)


def test_brightness_scales_colours(patches: Tensor) -> None:
    change = only(brightness=0.3).draw(1, 0, IDS)
    factor = torch.from_numpy(change.matrix[:, 0, 0])
    assert ((factor >= 0.7) & (factor <= 1.3)).all()
    assert torch.equal(
        change_colours(patches, change, None), (patches * factor[:, None, None, None, None]).round().to(torch.uint8)
    )


def test_contrast_keeps_the_mean_grey_of_the_clip(patches: Tensor) -> None:
    change = only(contrast=0.3).draw(1, 0, IDS)
    changed = change_colours(patches, change, Normalisation((0, 0, 0), (1, 1, 1))) * 255
    torch.testing.assert_close(grey(changed).mean((1, 2, 3)), grey(patches.float()).mean((1, 2, 3)))
    ratio = grey(changed).std((1, 2, 3)) / grey(patches.float()).std((1, 2, 3))
    torch.testing.assert_close(ratio, torch.from_numpy(change.matrix[:, 0, 0]))


@pytest.mark.parametrize("step", [{"saturation": 0.3}, {"hue": 0.1}])
def test_saturation_and_hue_keep_every_pixel_s_grey(patches: Tensor, step: dict[str, float]) -> None:
    patches = patches // 2 + 64
    changed = change_colours(patches, only(**step).draw(1, 0, IDS), Normalisation((0, 0, 0), (1, 1, 1))) * 255
    assert (changed - patches).abs().max() > 1
    torch.testing.assert_close(grey(changed), grey(patches.float()), atol=1e-3, rtol=0)


def test_half_a_turn_of_hue_gives_the_opposite_colour() -> None:
    recipe = only(hue=0.5)
    angles = {clip_id: np.trace(recipe.draw(0, 0, [clip_id]).matrix[0]) for clip_id in map(str, range(200))}
    half = recipe.draw(0, 0, [min(angles, key=angles.__getitem__)]).matrix[0]  # 1 + 2 cos(angle) is least at pi
    np.testing.assert_allclose(half + np.eye(3), 2 * np.tile(GREY, (3, 1)), atol=0.05)


def test_colours_are_clipped_not_wrapped() -> None:
    light = torch.full((1, 1, 3, 2, 2), 250, dtype=torch.uint8)
    recipe = only(brightness=1)
    changes = [recipe.draw(0, 0, [str(number)]) for number in range(20)]
    brighter = next(change for change in changes if change.matrix[0, 0, 0] > 1.1)
    assert change_colours(light, brighter, None).min() == 255


def test_normalisation_is_the_published_formula(patches: Tensor) -> None:
    mean, std = (torch.tensor(values)[:, None, None] for values in (HALF.mean, HALF.std))
    torch.testing.assert_close(change_colours(patches, None, HALF), (patches / 255 - mean) / std)


def test_with_neither_the_patches_are_left_alone(patches: Tensor) -> None:
    assert change_colours(patches, None, None) is patches


def test_autocast_does_not_coarsen_colours(patches: Tensor) -> None:
    change = Photometric().draw(0, 0, IDS)
    with torch.autocast("cpu", torch.bfloat16):
        inside = change_colours(patches, change, None)
    assert torch.equal(inside, change_colours(patches, change, None))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("hue", 0.6, "in 0..0.5"), ("contrast", -0.1, "in 0..1"), ("probability", 2, "in 0..1")],
)
def test_strengths_out_of_range_are_refused(field: str, value: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} \({value}\) must be {rule}$"):
        Photometric(**{field: value})


def test_a_normalisation_that_divides_by_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be > 0"):
        Normalisation((0, 0, 0), (1, 0, 1))
    with pytest.raises(ConfigError, match=r"must have 3 numbers"):
        Normalisation((0, 0), (1, 1, 1))  # type: ignore[arg-type]
