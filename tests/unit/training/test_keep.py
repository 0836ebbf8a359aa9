import torch

from harness.training.keep import flatten, keep


def test_flatten_finds_every_tensor():
    a, b = torch.zeros(1), torch.ones(2)
    assert [id(tensor) for tensor in flatten([a, (b, [a]), "name", 3])] == [id(a), id(b), id(a)]


def test_the_kept_tensors_share_memory_with_ours():
    tensor = torch.zeros(3)
    kept = keep([tensor])
    tensor.add_(1.0)
    assert kept.tensors[0].data_ptr() == tensor.data_ptr()
    assert kept() == 1
