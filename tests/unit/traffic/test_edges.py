"""Edges that are listed say and learn the same as rows of one length."""

import pytest
import torch

from harness.traffic.model.attention import RelativeAttention
from harness.traffic.model.compiled import attend, log_sum_of_products
from harness.traffic.model.edges import DenseEdges, ListedEdges, link, selected
from harness.traffic.model.embeddings import Relation
from harness.traffic.model.heads import LogSumOfProducts
from harness.traffic.model.rollout import contour_distance, token_distance


def seen():
    """Five that look at up to four of seven: rows, mask, and poses of both."""
    torch.manual_seed(0)
    mask = torch.rand(5, 4) < 0.6
    mask[2] = False
    spread = torch.tensor([30.0, 30.0, 2.0])
    return torch.randint(7, (5, 4)), mask, torch.randn(7, 3) * spread, torch.randn(5, 3) * spread


def both(aged=False):
    """The same edges in both layouts, the second made as where numbers of less precision are computed with."""
    rows, mask, source, pose = seen()
    relation = Relation(6, 8)
    listed = link(rows, mask, source, pose, relation, aged=aged)
    with torch.autocast("cpu", enabled=True):
        assert isinstance(link(rows, mask, source, pose, relation, aged=aged), DenseEdges)
    age = torch.arange(1.0, 5.0) if aged else None
    return listed, DenseEdges(rows, relation(source[rows], pose[:, None], age), mask)


@pytest.mark.parametrize("aged", [False, True])
def test_listed_relations_are_those_of_rows(aged):
    listed, dense = both(aged)
    assert isinstance(listed, ListedEdges)
    assert listed.rows.tolist() == dense.rows[dense.mask].tolist()
    assert listed.start.diff().tolist() == dense.mask.sum(1).tolist()
    assert torch.allclose(listed.relation, dense.relation[dense.mask], atol=2e-5)


def test_some_of_the_edges_and_other_rows():
    listed, dense = both()
    which, place = torch.tensor([True, False, True, True, False]), torch.tensor([6, 5, 4, 3, 2, 1, 0])
    some, same = listed.of(which).at(place), dense.of(which).at(place)
    assert some.rows.tolist() == same.rows[same.mask].tolist() == (6 - dense.rows[which][same.mask]).tolist()
    assert some.start.diff().tolist() == same.mask.sum(1).tolist()
    assert torch.allclose(some.relation, same.relation[same.mask], atol=2e-5)


def test_both_layouts_find_and_learn_the_same():
    listed, dense = both()
    layer = RelativeAttention(8, 2, 0.0)
    x, source = torch.randn(5, 8), torch.randn(7, 16)
    gradients = []
    for edges in (listed, dense):
        parts = [part.detach().requires_grad_() for part in (x, source, edges.relation)]
        found = layer(parts[0], parts[1], edges._replace(relation=parts[2]))
        layer.zero_grad()
        (found * torch.arange(40.0).view(5, 8).sin()).sum().backward()
        relation = parts[2].grad if edges is listed else parts[2].grad[dense.mask]
        gradients.append([found, parts[0].grad, parts[1].grad, relation, layer.query.weight.grad.clone()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert one.abs().max() > 1e-3


def test_kernels_of_the_head_are_a_logsumexp():
    torch.manual_seed(2)
    factors, basis = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True), torch.randn(4, 5).double()
    found = LogSumOfProducts.apply(factors, basis)
    assert torch.allclose(found, torch.logsumexp(factors @ basis, 1))
    assert torch.autograd.gradcheck(lambda factors: LogSumOfProducts.apply(factors, basis), (factors,))


@pytest.mark.parametrize("apart", [1.0, 200.0])
def test_kernels_that_learn_nothing_say_the_same(apart):
    """Nothing is kept for a gradient then, and terms that are far below the largest one are left out."""
    torch.manual_seed(4)
    factors, basis = apart * torch.randn(4, 3, 5), torch.randn(5, 6)
    with torch.no_grad():
        found = LogSumOfProducts.apply(factors, basis)
    assert torch.allclose(found, torch.logsumexp(factors @ basis, 1), rtol=1e-5, atol=1e-5)
    factors.requires_grad_()
    assert torch.equal(found, LogSumOfProducts.apply(factors, basis))


def test_the_exponential_is_right_to_the_last_bits():
    """Of two terms one is a known step below the other: the sum is 1 + exp(-step)."""
    steps = torch.linspace(0, 79, 20_000, dtype=torch.float64)
    factors = torch.stack([torch.zeros_like(steps), -steps], 1)[..., None].float()
    with torch.no_grad():
        _, total, terms = log_sum_of_products(factors, torch.ones(1, 1), shares=True)
    exponential = torch.exp(factors[:, 1, 0].double())
    assert torch.allclose(terms[:, 1, 0].double(), exponential, rtol=3e-7, atol=0)
    assert torch.allclose(total[:, 0].double(), 1 + exponential, rtol=2e-7)
    assert (terms[:, 0] == 1).all()


def test_distances_of_all_tokens():
    torch.manual_seed(5)
    table, kinds, goal = torch.randn(3, 7, 4, 2), torch.tensor([[2, 0], [1, 2]]), torch.randn(2, 2, 4, 2)
    found = token_distance(table, kinds, goal)
    assert torch.allclose(found, contour_distance(table[kinds], goal), atol=1e-6)
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    moved = token_distance(torch.stack([square, square + torch.tensor([3.0, 4.0])])[None], kinds[0, 1:], square[None])
    assert moved.tolist() == [[0.0, 5.0]]
    assert token_distance(table, kinds[:0], goal[:0]).shape == (0, 2, 7)


def test_gradients_are_the_slopes():
    torch.manual_seed(1)
    query, source, relation = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4), (5, 8), (6, 4))
    )
    row, start = torch.tensor([0, 4, 1, 1, 2, 0]), torch.tensor([0, 2, 2, 6])

    def found(query, source, relation):
        return attend(query, source, relation, row, start, 2)

    assert torch.autograd.gradcheck(found, (query, source, relation))
    assert (found(query, source, relation)[1] == 0).all()


def test_edges_that_are_known_by_row():
    rows, mask = torch.tensor([[2, 0], [1, -1]]), torch.tensor([[True, True], [True, False]])
    relation = torch.arange(3.0)[:, None]
    found = selected(rows, mask, relation)
    assert found.rows.tolist() == [2, 0, 1]
    assert found.relation[:, 0].tolist() == [2.0, 0.0, 1.0]
    assert found.start.tolist() == [0, 2, 3]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dense = selected(rows, mask, relation)
    assert dense.mask.tolist() == mask.tolist()
    assert dense.relation[..., 0][mask].tolist() == [2.0, 0.0, 1.0]
