"""Importers: other data sets' files as scenes (WOMD TFRecords, GPUDrive JSON, Argoverse 2)."""
