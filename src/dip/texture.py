"""Large holes: colours and texture that occur around them, and no others."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dip.regions import by_depth, surroundings

SECTORS, FILTERS = 8, 64  # by which an even texture is told


class ColourRange(nn.Module):
    """A penalty on colours in large holes that do not occur around them: (1, C, H, W) -> scalar.

    `weight` times the mean square of what the output, blurred by `blur_sd` pixels, has in a hole above the largest and
    below the smallest value of each channel that the known pixels around it have, blurred too. So no coloured ellipse
    can stand where the known pixels say nothing. Only holes deeper than `blur_sd` count.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. weight: 0 is no penalty.
    """

    lowest: Tensor
    highest: Tensor
    inside: Tensor

    def __init__(self, target: Tensor, mask: Tensor, weight: float, blur_sd: float):
        super().__init__()
        if weight < 0:
            raise ValueError(f"penalty.weight={weight}, but it multiplies an error; 0 is no penalty")
        if blur_sd <= 0:
            raise ValueError(f"penalty.blur_sd={blur_sd}, but it is a standard deviation in pixels, above 0")
        self.weight = weight
        self.blur_sd = blur_sd
        known = (mask == 1).float()
        colours = blurred(target * known, blur_sd) / blurred(known, blur_sd).clamp(min=1e-6)
        for name, plane in (("lowest", target), ("highest", target), ("inside", mask)):
            self.register_buffer(name, torch.zeros_like(plane), persistent=False)
        for inside in deep_holes(mask == 0, blur_sd) if weight > 0 else ():
            around = surroundings(inside, mask == 1, 3 * blur_sd)
            if around.any():
                beside = colours[:, :, around[0, 0]]
                self.lowest += inside * beside.amin(dim=2)[..., None, None]
                self.highest += inside * beside.amax(dim=2)[..., None, None]
                self.inside += inside
        self.pixels = self.inside.sum().item()

    def forward(self, output: Tensor) -> Tensor:
        if self.pixels == 0:
            return output.new_zeros(())
        with torch.autocast(output.device.type, enabled=False):
            colours = blurred(output, self.blur_sd)
            beyond = (self.lowest - colours).relu() + (colours - self.highest).relu()
            return self.weight * (beyond * self.inside).square().sum() / (self.pixels * output.shape[1])


class PatchTexture(nn.Module):
    """A penalty on the holes once they are filled smoothly: (1, C, H, W) -> scalar.

    It is `weight` times the distance between the distributions of the patches in a hole and of those around it, at
    full size, half of it and so on, and the mean squared difference in colour from the smooth `fill`, both blurred by
    `blur_sd` pixels: the texture comes from the surroundings, and what is bright and dark where from the prior.
    A hole gets texture if it is deeper than a patch is wide and lies in an even texture: the patches around it are
    alike on all sides, with a `variety` of less than `variety_below`, and without single edges, with a `kurtosis` of
    less than `kurtosis_below`. Others keep their fill. `holes`: those that get it.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. weight: 0 is no texture. share: of the run's steps, the last.
    patch: the side of a patch in pixels; filters and samples: how many filters and patches are compared in a step at
    each of the `scales`. input_lr: the learning rate of a trained input meanwhile, since fine texture is made of single
    pixels; None leaves it. Around a hole is what is as near as it is deep, and three patches at least.
    """

    fill: Tensor
    hole: Tensor
    textured: Tensor

    def __init__(
        self,
        target: Tensor,
        mask: Tensor,
        weight: float,
        share: float,
        variety_below: float,
        kurtosis_below: float,
        patch: int,
        filters: int,
        samples: int,
        scales: int,
        blur_sd: float,
        input_lr: float | None,
    ):
        super().__init__()
        if weight < 0:
            raise ValueError(f"texture.weight={weight}, but it multiplies a distance; 0 is no texture")
        if not 0 < share < 1:
            raise ValueError(f"texture.share={share}, but it is a share of the steps; texture.weight=0 is no texture")
        for key, value, least in (("patch", patch, 2), ("filters", filters, 1), ("samples", samples, 2)):
            if value < least:
                raise ValueError(f"texture.{key}={value}, but it is at least {least}")
        if scales < 1:
            raise ValueError(f"texture.scales={scales}, but it is at least 1; texture.weight=0 is no texture")
        if blur_sd <= 0:
            raise ValueError(f"texture.blur_sd={blur_sd}, but it is a standard deviation in pixels, above 0")
        if input_lr is not None and input_lr <= 0:
            raise ValueError(f"texture.input_lr={input_lr}, but a learning rate is above 0; null leaves the input's")
        self.weight = weight
        self.share = share
        self.blur_sd = blur_sd
        self.input_lr = input_lr
        self.begun = False
        self.register_buffer("fill", torch.zeros_like(target))
        self.register_buffer("hole", (mask == 0).float(), persistent=False)
        self.register_buffer("textured", torch.zeros_like(mask), persistent=False)
        self.holes = nn.ModuleList()
        for inside in deep_holes(mask == 0, patch) if weight > 0 else ():
            around = surroundings(inside, mask == 1, 3 * patch)
            if is_even(target, inside, around, patch, variety_below, kurtosis_below):
                self.holes.append(Hole(target, inside, around, patch, filters, samples, scales))
                self.textured += inside

    def begin(self, fill: Tensor) -> None:
        """From now on it counts. fill: (1, C, H, W), whose colours the holes keep."""
        self.fill.copy_(fill)
        self.begun = True

    def forward(self, output: Tensor) -> Tensor:
        with torch.autocast(output.device.type, enabled=False):
            return self.weight * self.unlike(output) + self.discoloured(output)

    def unlike(self, output: Tensor) -> Tensor:
        """The distance of the patches, in the mean over all pixels that get texture."""
        distances = torch.stack([hole.pixels * hole(output) for hole in self.holes])
        return distances.sum() / self.textured.sum()

    def discoloured(self, output: Tensor) -> Tensor:
        """How far the holes' colours are from those of the fill: blurred ones where there is texture."""
        error = (output - self.fill) * self.hole
        coarse, fine = blurred(error * self.textured, self.blur_sd), error * (1 - self.textured)
        return (coarse.square().sum() + fine.square().sum()) / (self.hole.sum() * output.shape[1])


class Hole(nn.Module):
    """One of the holes: the distance of its patches from those around it, in the mean over the scales.

    inside, around: (1, 1, H, W), boolean. Scales at which too few patches are left are left out.
    """

    def __init__(
        self, target: Tensor, inside: Tensor, around: Tensor, patch: int, filters: int, samples: int, scales: int
    ):
        super().__init__()
        self.pixels = int(inside.sum())
        self.rows, self.columns = box_of(inside | around)
        target, inside, around = (self.part(plane).float() for plane in (target, inside, around))
        self.levels = nn.ModuleList()
        while len(self.levels) < scales and min(target.shape[-2:]) >= patch:
            self.levels.append(Level(target, inside, around, patch, filters, samples))
            target, inside, around = (F.avg_pool2d(plane, 2) for plane in (target, inside, around))

    def part(self, picture: Tensor) -> Tensor:
        return picture[..., self.rows, self.columns]

    def forward(self, output: Tensor) -> Tensor:
        picture, distance = self.part(output), output.new_zeros(())
        for level in self.levels:
            distance = distance + level(picture)
            picture = F.avg_pool2d(picture, 2)
        return distance / max(len(self.levels), 1)


class Level(nn.Module):
    """The sliced Wasserstein distance of patches at one scale (Elnekave and Weiss, arXiv:2203.11862).

    Both sets of patches are seen through the same random filters; of what each filter gives, the sorted values are
    compared: (1, C, H, W) -> mean square difference, 0 where there are no patches.
    A patch is in the hole if its middle is, and around it if all of it is known.
    """

    target: Tensor
    inside: Tensor
    around: Tensor

    def __init__(self, target: Tensor, inside: Tensor, around: Tensor, patch: int, filters: int, samples: int):
        super().__init__()
        before, after = (patch - 1) // 2, patch // 2
        height, width = inside.shape[-2:]
        # At a smaller size a pixel is in the hole with half of what it stands for, and known with all of it.
        middles = inside[..., before : height - after, before : width - after] >= 0.5
        whole = F.avg_pool2d(around, patch, stride=1) == 1
        for name, value in (("target", target), ("inside", places(middles)), ("around", places(whole))):
            self.register_buffer(name, value, persistent=False)
        self.patch = patch
        self.filters = filters
        self.samples = min(samples, len(self.inside))

    def forward(self, picture: Tensor) -> Tensor:
        if len(self.inside) == 0 or len(self.around) == 0:
            return picture.new_zeros(())
        filters = random_filters(self.filters, picture.shape[1], self.patch, picture.device)
        drawn, known = (
            F.conv2d(seen, filters)[0].flatten(1)[:, some(of, self.samples)].sort().values
            for seen, of in ((picture, self.inside), (self.target, self.around))
        )
        return (drawn - known).square().mean()


def deep_holes(region: Tensor, deeper_than: float) -> Iterator[Tensor]:
    """The connected parts of a boolean (1, 1, H, W), one by one, that are deeper than so many pixels."""
    numbered, depths = by_depth(region[0, 0].numpy())
    for number in np.flatnonzero(depths > deeper_than):
        yield torch.from_numpy(numbered == number)[None, None]


def is_even(
    target: Tensor, inside: Tensor, around: Tensor, patch: int, variety_below: float, kurtosis_below: float
) -> bool:
    """Whether a hole lies in an even texture, which its surroundings are an example of."""
    whole = F.avg_pool2d(around.float(), patch, stride=1)[0, 0] == 1
    if not whole.any():
        return False
    # A generator of its own: what a hole gets depends on the picture, not on the seed.
    filters = random_filters(FILTERS, target.shape[1], patch, target.device, torch.Generator().manual_seed(0))
    seen = F.conv2d(target, filters)[0][:, whole]
    rows, columns = whole.nonzero().T
    middle = inside[0, 0].nonzero().double().mean(dim=0) - (patch - 1) / 2
    angles = torch.atan2(rows - middle[0], columns - middle[1])
    return kurtosis(seen) < kurtosis_below and variety(seen, angles) < variety_below


def kurtosis(seen: Tensor) -> float:
    """How far patches are from a normal distribution, of which it is 3; single edges make it larger.

    seen: (filters, patches), what random filters give of the patches. The mean over the filters.
    """
    centred = seen - seen.mean(dim=1, keepdim=True)
    return (centred.pow(4).mean(dim=1) / (centred.square().mean(dim=1).square() + 1e-12)).mean().item()


def variety(seen: Tensor, angles: Tensor) -> float:
    """How much patches differ from side to side: 0 where they are alike, about 1 where not at all.

    seen: (filters, patches), what random filters give of the patches; angles: (patches,), where these are. The mean
    over sectors and filters of the squared Wasserstein distance between what is in the sector and what is everywhere,
    over the variance.
    """
    sectors = ((angles / torch.pi + 1) / 2 * SECTORS).long() % SECTORS
    levels = torch.linspace(0.005, 0.995, 100)
    everywhere, spread = quantiles(seen, levels), seen.var(dim=1)
    differences = [
        (quantiles(seen[:, sectors == sector], levels) - everywhere).square().mean(dim=1) / (spread + 1e-6)
        for sector in sectors.unique()
    ]
    return torch.stack(differences).mean().item()


def quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """(N, values) -> (N, levels)."""
    ordered = values.sort(dim=1).values
    return ordered[:, (levels * (values.shape[1] - 1)).round().long()]


def box_of(region: Tensor) -> tuple[slice, slice]:
    """The rows and columns in which a boolean (1, 1, H, W) is true."""
    rows, columns = region[0, 0].any(dim=1).nonzero(), region[0, 0].any(dim=0).nonzero()
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def random_filters(
    count: int, channels: int, side: int, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Without a mean, so that colours do not count, and of length 1: (count, channels, side, side)."""
    filters = torch.randn(count, channels, side, side, device=device, generator=generator)
    filters -= filters.mean(dim=(2, 3), keepdim=True)
    return filters / filters.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def places(region: Tensor) -> Tensor:
    """The numbers of the pixels that are true."""
    return region.flatten().nonzero()[:, 0]


def some(places: Tensor, count: int) -> Tensor:
    return places[torch.randint(len(places), (count,), device=places.device)]


def blurred(picture: Tensor, sd: float) -> Tensor:
    """By a Gaussian of so many pixels, as if the edges went on: (1, C, H, W)."""
    channels, reach = picture.shape[1], round(3 * sd)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=picture.device) / sd).square())
    weights = (weights / weights.sum()).expand(channels, 1, 1, -1)
    wider = F.pad(picture, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(wider, weights, groups=channels), weights.mT, groups=channels)
