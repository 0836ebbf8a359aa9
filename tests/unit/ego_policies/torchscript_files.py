"""TorchScript files made by hand, so that they can hold what `torch.jit.save` would never write."""

import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

FORWARD = "  def forward(self: __torch__.P, x: Tensor) -> Tensor:\n"
DATA = b"\x80\x02c__torch__\nP\n)\x81}(X\x08\x00\x00\x00training\x89ub."
"""A module of class P without weights."""


def method(*lines: str, extra: str = "") -> str:
    """Source of a module whose `forward` has these lines."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"class P(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n{FORWARD}{body}{extra}"


def forge(path: Path, code: str | bytes, data: bytes = DATA, **members: bytes) -> Path:
    """Write an archive with this source and pickle; names of further members use `__` for `/` and `_dot_` for `.`."""
    content = {
        "data.pkl": data,
        "code/__torch__.py": code.encode() if isinstance(code, str) else code,
        "constants.pkl": b"\x80\x02).",
        "version": b"10\n",
    }
    content |= {name.replace("__", "/").replace("_dot_", "."): value for name, value in members.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, value in content.items():
            archive.writestr(f"forged/{name}", value)
    path.write_bytes(packed.getvalue())
    return path


class Writes(nn.Module):
    """Writes into the current folder while it is being loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.zeros(4, dtype=torch.uint8)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]

    @torch.jit.export
    def __getstate__(self):
        return ("written.bin", self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.training = state[1]
        self.kept = torch.from_file(state[0], True, 4, dtype=torch.uint8).copy_(torch.ones(4, dtype=torch.uint8))


class WritesLater(nn.Module):
    """Writes when it is asked for an action."""

    def forward(self, x: Tensor) -> Tensor:
        file = torch.from_file("written.bin", True, 4, dtype=torch.uint8).copy_(torch.ones(4, dtype=torch.uint8))
        return x[:, :2] * file.to(torch.float32).mean()
