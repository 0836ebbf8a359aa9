"""RosettaSim: motion and newcomers as one structured sequence that a causal sequence model goes on with."""
