"""Procedural scenes: MetaDrive's road generator, IDM traffic, recorded once and cached. No engine is started."""

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.generator import default_folder, ensure, generate

__all__ = ["ProceduralConfig", "default_folder", "ensure", "generate"]
