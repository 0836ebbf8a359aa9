"""Attacked scenes for other simulators: ASAM OpenSCENARIO with OpenDRIVE roads."""
