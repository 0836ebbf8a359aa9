"""What the model says about the next half second: token logits, or a Gaussian mixture for an ego policy."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model import compiled
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.embeddings import fourier, mlp
from harness.traffic.tokens.shapes import TOKEN_KINDS

_FINE: Final = 8.0
"""Token ends are magnified by this before Fourier features: their wavelengths start at 1/8 m."""
_KERNEL_UNIT: Final = (1.0, 0.5, 0.2)
"""Units of kernel offsets: m ahead, m to the left, rad. What an agent does in half a second differs from going on as
before by less than about this."""
_KERNEL_WIDTH: Final = (0.3, 0.1, 0.03)
"""Kernel widths before learning, in m, m, rad; learnt within a factor of 12 either way."""
SCALE_POSITION: Final = 1.0
"""Fixed standard deviation of x and y, m (CAT-K's ego policy)."""
SCALE_DIRECTION: Final = 0.1
"""Fixed standard deviation of the heading's cosine and sine (CAT-K's ego policy)."""


class LogSumOfProducts(torch.autograd.Function):
    """Logarithm of Σ_c exp(a_c · b) [n, V], of factors a [n, C, F] and b [F, V], which learns nothing.

    As `logsumexp` of a matrix product, with a third of the passes over [n, C, V]; on a CPU, in single precision, one.
    """

    @staticmethod
    def forward(ctx: Any, factors: Tensor, basis: Tensor) -> Tensor:
        """See the class."""
        if factors.device.type == "cpu" and factors.dtype == torch.float32:
            found, total, share = compiled.log_sum_of_products(factors, basis, shares=ctx.needs_input_grad[0])
            ctx.save_for_backward(share, total, basis)
            return found
        score = (factors.flatten(0, 1) @ basis).view(*factors.shape[:2], -1)
        top = score.amax(1, keepdim=True)
        share = score.sub_(top).exp_()
        total = share.sum(1)
        ctx.save_for_backward(share, total, basis)
        return total.log().add_(top[:, 0])

    @staticmethod
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Gradient of the factors."""
        share, total, basis = ctx.saved_tensors
        asked = share * (asked / total)[:, None]
        return (asked.flatten(0, 1) @ basis.T).view(*asked.shape[:2], -1), None


class TokenHead(nn.Module):
    """Scores tokens by where they end and by what they are.

    SMART's head is a plain linear layer over tokens, and learns from hundreds of thousands of scenes which tokens are
    alike. Here (ours, for few scenes) a token's score is the sum of two parts. The first is a mixture of a few Gaussian
    kernels over where tokens end, each placed relative to going on as before: precise from the start, and similar
    motions share what is learnt. The second is the product of the agent's features with an embedding of the token,
    which is an MLP of its geometry plus a free vector; the same embedding is used as input.
    """

    def __init__(self, config: SmartConfig, size: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.bands, self.components = config.bands + 2, config.components
        self.geometry = mlp(2 * 2 * self.bands + 6, hidden, hidden)
        self.kind = nn.Embedding(TOKEN_KINDS, hidden)
        self.free = nn.Parameter(torch.zeros(TOKEN_KINDS, size, hidden))
        self.bias = nn.Parameter(torch.zeros(TOKEN_KINDS, size))
        self.query = mlp(hidden, hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.kernel = mlp(hidden, hidden, 7 * config.components)
        last = cast(nn.Linear, self.kernel[-1])
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()

    def table(self, motions: Tensor) -> Tensor:
        """Embeddings [3, V, hidden] of tokens [3, V, 6, 3]."""
        end = motions[:, :, -1]
        middle = motions[:, :, motions.shape[2] // 2]
        parts = [fourier(_FINE * end[..., k], self.bands) for k in range(2)]
        turn = 10.0 * end[..., 2:]
        parts += [end[..., :2] / 5.0, turn.sin(), turn.cos(), end[..., 2:], (2 * middle - end)[..., :1]]
        kinds = torch.arange(TOKEN_KINDS, device=end.device)
        return self.geometry(torch.cat(parts, -1)) + self.kind(kinds)[:, None] + self.free

    def forward(
        self,
        x: Tensor,
        kinds: Tensor,
        motion: Tensor,
        table: Tensor,
        ends: Tensor,
        known: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Logits [N, V], in the precision of `ends`, under autocast too.

        Args:
            x: [N, hidden] features.
            kinds: [N] token kinds.
            motion: [N, 3] the motion before.
            table: [3, V, hidden] from `table`.
            ends: [3, V, 3] where tokens end.
            known: [N] whether the motion before is known; who has none has no kernels. None: everybody's is.
            keys: [3, V, hidden] `key` of the table, where it is at hand: it is the same in every decision.
        """
        query = self.query(x) / math.sqrt(x.shape[-1])
        keys = self.key(table) if keys is None else keys
        logits = ends.new_zeros(len(x), table.shape[1])
        for kind in range(TOKEN_KINDS):
            rows = (kinds == kind).nonzero()[:, 0]
            if len(rows):
                scores = query.index_select(0, rows) @ keys[kind].T + self.bias[kind]
                # In half precision the squares of tens of kernel widths would be off by nats.
                with torch.autocast(x.device.type, enabled=False):
                    some = x.index_select(0, rows).to(ends.dtype)
                    kernels = self._kernels(some, motion.index_select(0, rows), ends[kind])
                    if known is not None:
                        kernels = torch.where(known.index_select(0, rows)[:, None], kernels, 0.0)
                scores = scores + kernels
                logits = logits.index_copy(0, rows, scores.to(logits.dtype))
        return logits

    def _kernels(self, x: Tensor, motion: Tensor, ends: Tensor) -> Tensor:
        """Log of a sum of Gaussian kernels [n, V] around ends of tokens [V, 3]; features `x` [n, hidden] in float32."""
        raw = self.kernel(x).view(len(x), self.components, 7)
        unit = ends.new_tensor(_KERNEL_UNIT)
        width = ends.new_tensor(_KERNEL_WIDTH) * raw[..., 4:].clamp(-2.5, 2.5).exp()
        precision = (unit / width).square()
        mean = motion[:, None] / unit + raw[..., 1:4]
        place = ends / unit
        # The square written out: one matrix product over tokens.
        level = raw[..., :1] - 0.5 * (precision * mean.square()).sum(-1, keepdim=True)
        factors = torch.cat([precision * mean, -0.5 * precision, level], -1)
        basis = torch.cat([place, place.square(), torch.ones_like(place[:, :1])], -1)
        found: Tensor = LogSumOfProducts.apply(factors, basis.T)
        return found


class Mixture(NamedTuple):
    """A mixture over the next pose in the agent's frame: logits [..., K], means [..., K, 4] (x, y, cos, sin)."""

    logits: Tensor
    means: Tensor

    def negative_log_likelihood(self, motion: Tensor, *, hard: bool = False) -> Tensor:
        """Negative log-likelihood [N] of motions [N, 3]: diagonal, with fixed scales (CAT-K §10.3).

        Args:
            motion: x, y (m), heading (rad) in the agent's frame.
            hard: Take the component whose mean is nearest to the motion, and its probability, for the whole mixture:
                "we train only the Gaussian mixture component that is closest" (CAT-K §10.3).
        """
        scale = torch.tensor([SCALE_POSITION] * 2 + [SCALE_DIRECTION] * 2, device=motion.device, dtype=self.means.dtype)
        target = torch.cat([motion[:, :2], motion[:, 2:].cos(), motion[:, 2:].sin()], -1)
        normal = ((target[:, None] - self.means) / scale).square().sum(-1) / 2 + scale.log().sum()
        normal = normal + 2.0 * math.log(2 * math.pi)
        joint = self.logits.log_softmax(-1) - normal
        if hard:
            return -joint.gather(-1, normal.argmin(-1, keepdim=True))[..., 0]
        return -torch.logsumexp(joint, -1)

    def poses(self) -> Tensor:
        """Mean motions [..., K, 3]: x, y, heading."""
        return torch.cat([self.means[..., :2], torch.atan2(self.means[..., 3], self.means[..., 2])[..., None]], -1)


class GmmHead(nn.Module):
    """Gaussian-mixture head over (x, y, cos, sin) after 0.5 s.

    Paper: CAT-K §10.3 (16 modes). The direction is normalised, so that it is one.
    """

    def __init__(self, hidden: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.net = mlp(hidden, hidden, modes * 5)

    def forward(self, x: Tensor, motion: Tensor) -> Mixture:
        """Mixture for features [N, hidden]; means are offsets from repeating the last `motion` [N, 3]."""
        raw = self.net(x).view(len(x), self.modes, 5)
        place = raw[..., 1:3] + motion[:, None, :2]
        turn = torch.stack([motion[:, 2].cos(), motion[:, 2].sin()], -1)
        direction = F.normalize(raw[..., 3:5] + turn[:, None], dim=-1, eps=1e-6)
        return Mixture(raw[..., 0], torch.cat([place, direction], -1))
