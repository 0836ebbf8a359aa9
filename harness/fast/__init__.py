"""The fast engine: the environment's physics, sensors and rules as compiled kernels over many environments at once.

It plays the same scenes by the same rules as `harness.engine`, without MetaDrive, Bullet or Panda3D: Bullet's equations
are written out for one car on flat ground, with the constants of MetaDrive 0.4.3. Policies are trained on it; whatever
is reported is measured in MetaDrive.
"""
