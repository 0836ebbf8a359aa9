"""SAGE: preference-aligned experts from one motion prior, mixed in weight space at test time.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment". Alignment is HGPO
(section 3.2, algorithm 1), steering is weight interpolation and preference vectors (section 3.3, appendix B.3).
"""
