"""What people export loads and drives as torch has it; what a stranger's file may not do, it is refused for."""

import time
import zipfile

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, TD3

from ego_policies.adapters import TorchScriptPolicy
from ego_policies.torch_archives import TorchArchive
from ego_policies.torchscript import rewrite
from ego_policies.torchscript_calls import CallCount
from ego_policies.torchscript_code import ForbiddenCodeError, Source
from ego_policies.torchscript_constants import MAX_CONSTANT, largest_constant
from ego_policies.torchscript_operators import OPERATORS, PRIMITIVES
from harness.episodes.policies import load_policy
from harness.errors import ConfigError, PolicyError
from tests.unit.ego_policies import torchscript_files as files
from tests.unit.ego_policies.networks import NETWORKS, SIZE, Gaussian
from tests.unit.ego_policies.torchscript_files import forge, method

OBSERVATION = np.linspace(0.1, 0.9, SIZE, dtype=np.float32)
EXPORTS = {
    "script": lambda module, x: torch.jit.script(module),
    "trace": lambda module, x: torch.jit.trace(module, x, check_trace=False, strict=False),
    "freeze": lambda module, x: torch.jit.freeze(torch.jit.script(module)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_people_export_loads_and_answers_as_before(tmp_path, capfd, network, export):
    module = EXPORTS[export](network().eval(), torch.zeros(1, SIZE))
    module.save(str(tmp_path / "policy.pt"))
    policy = TorchScriptPolicy(tmp_path / "policy.pt")
    policy.reset(None, np.random.default_rng(0))
    capfd.readouterr()
    found = [policy.act(OBSERVATION, None) for _ in range(3)]
    assert capfd.readouterr().out == "", "a stranger's words have no business in the terminal"
    torch.set_rng_state(torch.Generator().manual_seed(int(np.random.default_rng(0).integers(1 << 62))).get_state())
    with torch.inference_mode():
        answers = [module(torch.from_numpy(OBSERVATION)[None]) for _ in range(3)]
    expected = [(answer if isinstance(answer, torch.Tensor) else answer[0])[0].numpy() for answer in answers]
    assert np.array_equal(found, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", [PPO, TD3])
def test_policies_of_stable_baselines(tmp_path, plain_env, algorithm):
    """Traced as SB3's page on exporting has it: PPO's answers with action, value and log-probability."""
    model = algorithm("MlpPolicy", plain_env(SIZE), device="cpu", policy_kwargs={"net_arch": [8]})
    policy = model.policy.eval()
    call = (lambda x: policy(x, deterministic=True)) if algorithm is PPO else policy
    traced = torch.jit.trace(policy, torch.zeros(1, SIZE), check_trace=False)
    traced.save(str(tmp_path / "policy.pt"))
    loaded = load_policy(str(tmp_path / "policy.pt"))
    loaded.reset(None, np.random.default_rng(0))
    action = loaded.act(OBSERVATION, None)
    assert action.shape == (2,)
    if algorithm is TD3:
        assert action == pytest.approx(call(torch.from_numpy(OBSERVATION)[None])[0].detach().numpy(), abs=1e-6)


def test_random_numbers_are_those_of_the_episode(tmp_path):
    torch.jit.script(Gaussian()).save(str(tmp_path / "policy.pt"))
    policy = TorchScriptPolicy(tmp_path / "policy.pt")
    before = torch.get_rng_state()

    def drive(seed):
        policy.reset(None, np.random.default_rng(seed))
        return [policy.act(OBSERVATION, None).tolist() for _ in range(3)]

    first = drive(1)
    assert first[0] != first[1]
    assert drive(1) == first != drive(2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("module", [files.Writes, files.WritesLater])
def test_nothing_is_written(tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(module()).save("policy.pt")
    with pytest.raises(PolicyError, match=r"policy\.pt: refused, because its code asks for .*trust=true"):
        load_policy("policy.pt").act(OBSERVATION, None)
    assert [file.name for file in tmp_path.iterdir()] == ["policy.pt"]


def test_a_file_that_is_trusted_is_loaded_as_torch_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(files.WritesLater()).save("policy.pt")
    assert load_policy("torchscript:policy.pt?trust=true").act(OBSERVATION, None) == pytest.approx(OBSERVATION[:2])
    assert (tmp_path / "written.bin").exists()
    with pytest.raises(PolicyError, match="trust is 'yes'"):
        TorchScriptPolicy("policy.pt", trust="yes")
    with pytest.raises(ConfigError, match="trust is 'yes'"):
        load_policy("torchscript:policy.pt?trust=yes")


def test_files_by_hand_load_when_they_are_harmless(tmp_path):
    policy = TorchScriptPolicy(forge(tmp_path / "p.pt", method("return torch.slice(x, 1, 0, 2)")))
    assert policy.act(OBSERVATION, None) == pytest.approx(OBSERVATION[:2])


X = "return torch.slice(x, 1, 0, 2)"
FORBIDDEN = {
    "from_file": method('y = torch.from_file("f", True, 4)', X),
    "method": method("y = x.set_(x)", X),
    "method of a result": method("y = torch.neg(x).resize_([9])", X),
    "operator as a value": method("f = torch.save", X),
    "method as a value": method("f = x.set_", X),
    "getattr": method('f = getattr(x, "set_")', X),
    "getattr of torch": method('f = getattr(torch, "from_file")', X),
    "getattr computed": method('n = "set_"', "f = getattr(x, n)", X),
    "keyword": method('y = torch.add(x, other=torch.from_file("f"))', X),
    "subscript": method('y = x[int(torch.from_file("f"))]', X),
    "condition": method('if bool(torch.from_file("f")):', "  pass", "else:", "  pass", X),
    "loop": method('while bool(torch.from_file("f")):', "  pass", X),
    "assertion": method('assert bool(torch.from_file("f"))', X),
    "store": method('x[int(torch.from_file("f"))] = 1', X),
    "default": method(X, extra="  def other(self: __torch__.P, y: Tensor=torch.zeros([9])) -> Tensor:\n    return y\n"),
    "constant of a class": method(X, extra="  a : Final[int] = torch.len([1])\n"),
    "setstate": method(X, extra="  def __setstate__(self: __torch__.P, s: int) -> NoneType:\n    return None\n"),
    "getstate": method(X, extra="  def __getstate__(self: __torch__.P) -> int:\n    return 1\n"),
    "namespace": method("y = ops.profiler._record_function_enter(x)", X),
    "namespace of aten": method('y = ops.aten.from_file("f")', X),
    "primitive": method("y = ops.prim.Print(x)", X),
    "half a namespace": method("o = ops.aten", X),
    "ops as a value": method("o = ops", X),
    "torch as a value": method("t = torch", X),
    "torch as an argument": method("t = f(torch)", X),
    "torch by another name": method("torch = x", X),
    "torch as a loop's name": method("for torch in [x]:", "  pass", X),
    "torch as a parameter": method(X, extra="  def f(self: __torch__.P, torch: Tensor) -> Tensor:\n    return torch\n"),
    "nested torch": method("y = torch.classes.foo.Bar()", X),
    "custom class": method("y = __torch__.torch.classes.foo.Bar()", X),
    "custom class by parts": method("n = __torch__.torch", "y = n.classes.foo.Bar()", X),
    "annotation": method("y = annotate(__torch__.torch.classes.foo.Bar, x)", X),
    "fork": method("y = fork(x)", X),
    "fork before it is assigned": method("y = fork(x)", "fork = 1", X),
    "unknown name": method("y = unknown(x)", X),
    "lambda": method("f = lambda y: y", X),
    "comprehension": method("f = [y for y in [1]]", X),
    "with": method("with x:", "  pass", X),
    "import": method("import os", X),
    "star": method("y = torch.add(*[x, x])", X),
    "decorator": method(X, extra="  @staticmethod\n  def f() -> int:\n    return 1\n"),
    "statement at the top": "x = torch.zeros([1])\n" + method(X),
    "statement in a class": method(X, extra="  torch.neg(1)\n"),
    "base": method(X).replace("(Module)", "(torch.classes.X)"),
    "text that doubles": method('a = "aaaaaaaa"', *["a = torch.add(a, a)"] * 40, X),
    "text that is repeated": method('a = torch.mul("aaaaaaaa", 1000000000)', X),
    "text that is formatted": method('a = "aaaaaaaa{}"', *['a = torch.format("{}{}", a, a)'] * 40, X),
    "tuple that doubles": method("a = (1, 1)", *["a = (a, a)"] * 60, X),
    "tuple that doubles in branches": method(
        "a = (1, 1)", *["if True:", "  b = (a, a)", "else:", "  b = a", "a = (b, b)"] * 40, X
    ),
}


def calls(count: int, call: str) -> str:
    """Source of functions that each call the one before, by this expression."""
    text = "def f0(x: Tensor) -> Tensor:\n  return torch.neg(x)\n"
    for k in range(1, count):
        text += f"def f{k}(x: Tensor) -> Tensor:\n  return {call.replace('F', f'__torch__.f{k - 1}(x)')}\n"
    return text + method(f"return __torch__.f{count - 1}(x)")


def types(count: int) -> str:
    """Source of classes that each hold one of the next."""
    text = "".join(f"class A{k}(Module):\n  a : __torch__.A{k + 1}\n" for k in range(count))
    return f"{text}class A{count}(Module):\n  pass\n" + method(X)


def classes(count: int) -> str:
    """Source of classes whose `forward` calls that of the one before twice, as of an object of no known class."""
    text = "class P0(Module):\n  def forward(self: __torch__.P0, x: Tensor) -> Tensor:\n    return x\n"
    for k in range(1, count):
        text += f"class P{k}(Module):\n  a : Any\n  def forward(self: __torch__.P{k}, x: Tensor) -> Tensor:\n"
        text += "    return (self.a).forward((self.a).forward(x))\n"
    return text + method(X)


FORBIDDEN |= {
    "operations that double": calls(40, "torch.add(F, F)"),
    "operations in a chain": calls(300, "torch.add(torch.neg(F), 1)"),
    "types in a chain": types(300),
    "types in a circle": types(3).replace("class A3(Module):\n  pass", "class A3(Module):\n  a : __torch__.A0"),
    "operations of objects": classes(40),
    "many operations": method(*["x = torch.neg(x)"] * 8_200, X),
    "long": method(*["y = x"] * 150_000, X),
    "deep": method("y = " + "(" * 150 + "x" + ")" * 150 + "." + ".".join("T" * 150), X),
    "type of types": method(
        f"y = annotate({'Tuple[' * 9}int{', int]' * 9}, x)".replace("int", "Tuple[" + "int, " * 300 + "int]"), X
    ),
    "long list": method(X, extra=f"  def f(self: __torch__.P, y: List[int]=[{'1, ' * 5_000}]) -> int:\n    return 1\n"),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_code_that_is_not_on_the_list(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    with pytest.raises(PolicyError, match="refused, because its code asks for"):
        TorchScriptPolicy(forge(tmp_path / "p.pt", FORBIDDEN[case]))
    assert time.process_time() - began < 5
    assert [file.name for file in tmp_path.iterdir()] == ["p.pt"]


DAMAGED = {
    "deeper": method("y = " + "-" * 100_000 + "1", X),
    "deep brackets": method("y = " + "[" * 5_000 + "]" * 5_000, X),
    "no code": "class P(Module:\n",
    "null byte": method(X) + "\0",
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_code_that_is_none(tmp_path, case):
    began = time.process_time()
    with pytest.raises(PolicyError, match="refused, because this TorchScript file is damaged"):
        TorchScriptPolicy(forge(tmp_path / "p.pt", DAMAGED[case]))
    assert time.process_time() - began < 5


def test_comments_and_odd_letters_are_not_passed_on():
    text = method("y = x  # type: (int) -> int", X).replace("x", "ｘ")
    assert "#" not in Source(text).text
    assert "ｘ" not in Source(text).text, "Python reads such letters as plain ones"
    with pytest.raises(ForbiddenCodeError, match="from_file"):
        Source(method('y = torch.from_ﬁle("f")', X))


def tensor(shape: bytes, stride: bytes, count: bytes = b"K\x04", kind: bytes = b"FloatStorage", key=b"0") -> bytes:
    """A pickle of a module with one tensor."""
    storage = b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX" + len(key).to_bytes(4, "little") + key
    storage += b"X\x03\x00\x00\x00cpu" + count + b"tQ"
    value = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00"
        + shape
        + stride
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )
    return b"\x80\x02c__torch__\nP\n)\x81}(X\x08\x00\x00\x00training\x89X\x01\x00\x00\x00w" + value + b"ub."


PICKLES = {
    "expanded": tensor(b"(J\xff\xff\xff\x7fK\x04t", b"(K\x00K\x01t"),
    "beyond its storage": tensor(b"(K\x05t", b"(K\x01t"),
    "strided beyond its storage": tensor(b"(K\x02t", b"(K\x09t"),
    "negative": tensor(b"(J\xff\xff\xff\xfft", b"(K\x01t"),
    "more numbers than bytes": tensor(b"(K\x04t", b"(K\x01t", b"J\x00\x00\x00\x40"),
    "another kind of number": tensor(b"(K\x04t", b"(K\x01t", kind=b"DoubleStorage"),
    "unknown numbers": tensor(b"(K\x04t", b"(K\x01t", kind=b"QInt8Storage"),
    "another path": tensor(b"(K\x04t", b"(K\x01t", key=b"../0"),
    "missing": tensor(b"(K\x04t", b"(K\x01t", key=b"7"),
    "os.system": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
    "class of torch": b"\x80\x02c__torch__.torch.classes.foo\nBar\n)\x81}b.",
    "class of Python": b"\x80\x02cbuiltins\nobject\n)\x81}b.",
    "opcode": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N.",
    "nested": b"\x80\x02" + b"]" * 1000 + b"a" * 999 + b".",
    "doubling": b"\x80\x02K\x01\x85q\x00" + b"".join(b"0h%ch%c\x86q%c" % (k, k, k + 1) for k in range(60)) + b".",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "empty": b"",
    "cut off": files.DATA[:-4],
    "more behind": files.DATA + b"N.",
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickles_that_are_not_data(tmp_path, case):
    code = method(X).replace("training : bool", "training : bool\n  w : Tensor")
    data = np.arange(4, dtype=np.float32).tobytes()
    good = TorchScriptPolicy(forge(tmp_path / "g.pt", code, tensor(b"(K\x04t", b"(K\x01t"), data__0=data))
    assert good.act(OBSERVATION, None) == pytest.approx(OBSERVATION[:2])
    began = time.process_time()
    with pytest.raises(PolicyError, match="refused, because this TorchScript file is damaged"):
        TorchScriptPolicy(forge(tmp_path / "p.pt", code, PICKLES[case], data__0=data))
    assert time.process_time() - began < 3


def test_what_was_not_checked_is_not_passed_on(tmp_path):
    path = forge(tmp_path / "p.pt", method(X), **{"bytecode_dot_pkl": b"x", "extra__words": b"x"})
    checked, _ = rewrite(TorchArchive(path.read_bytes()))
    (tmp_path / "again.pt").write_bytes(checked)
    with zipfile.ZipFile(tmp_path / "again.pt") as archive:
        names = set(archive.namelist())
    assert names == {
        f"policy/{name}" for name in ("code/__torch__.py", "data.pkl", "constants.pkl", "version", "byteorder")
    }


@pytest.mark.parametrize("name", ["code/../../x.py", "code/__torch__/a b.py", "code/torch.py", "code//__torch__.py"])
def test_code_in_odd_places(tmp_path, name):
    path = forge(tmp_path / "p.pt", method(X))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"forged/{name}", method(X))
    with pytest.raises(PolicyError, match="unknown member"):
        TorchScriptPolicy(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_member_twice(tmp_path):
    path = forge(tmp_path / "p.pt", method(X))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("forged/code/__torch__.py", FORBIDDEN["from_file"])
    with pytest.raises(PolicyError, match="same name"):
        TorchScriptPolicy(path)


def test_a_zip_bomb_and_a_folder_of_another_name(tmp_path):
    path = forge(tmp_path / "p.pt", method(X))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("forged/data/9", bytes(20_000_000))
    with pytest.raises(PolicyError, match="packed too well"):
        TorchScriptPolicy(path)
    path = forge(path, method(X))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("elsewhere/code/__torch__.py", FORBIDDEN["from_file"])
    with pytest.raises(PolicyError, match="one folder"):
        TorchScriptPolicy(path)


DIVIDES = "torch.add(torch.slice(x, 1, 0, 2), torch.{}(7, torch.{}(torch.size(x, 1), {})))"
IMPOSSIBLE = (
    DIVIDES.format("remainder", "sub", 4),
    DIVIDES.format("floordiv", "sub", 5),
    "torch.add(x, torch.remainder(7, torch.sub(1, 1)))",
    "torch.add(torch.zeros([1000000000000]), x)",
    "torch.unsqueeze(x, 9)",
    "torch.mm(x, x)",
)


@pytest.mark.parametrize("answer", IMPOSSIBLE)
def test_what_a_module_cannot_do_is_one_clear_error_when_it_drives(tmp_path, answer):
    policy = TorchScriptPolicy(forge(tmp_path / "p.pt", method(f"return {answer}")))
    with pytest.raises(PolicyError, match=r"failed on an observation of shape \(4,\)"):
        policy.act(OBSERVATION, None)


def test_the_list_holds_nothing_that_touches_files_storages_or_the_process():
    bad = "file save load resize as_strided data_ptr storage print warn fork wait record profil manual_seed"
    assert not [name for name in OPERATORS | PRIMITIVES for word in bad.split() if word in name.lower()]
    assert "set_" not in OPERATORS
    assert {"linear", "tanh", "lstm"} <= OPERATORS


def test_constants_are_measured_without_being_made():
    import ast

    def largest(*lines):
        return largest_constant(ast.parse("\n".join(lines)).body)

    assert largest('a = "abc"', "b = (a, a, 1)", "c = b[0]", "d, e, f = b", "g = torch.add(d, e)") == 7
    assert largest(*["x = torch.add(x, x)"] * 99) == 0, "tensors do not grow"
    assert largest('a = "ab"', *["a = torch.add(a, a)"] * 60) > MAX_CONSTANT
    assert largest("hx = (h, c)", *["hx = (f(hx[0]), f(hx[1]))"] * 60) == 2
    assert largest('a = "ab"', "for i in y:", "  a = torch.add(a, a)") == 4


def test_operations_are_counted_through_classes_functions_and_aliases():
    import ast

    def largest(text):
        return CallCount({"__torch__": ast.parse(text)}).largest()

    assert largest(calls(3, "torch.add(F, F)")) == 14
    inner = (
        "class A(Module):\n  def forward(self: __torch__.A, x: Tensor) -> Tensor:\n    return torch.neg(torch.abs(x))\n"
    )
    outer = "class B(Module):\n  a : __torch__.A\n  __annotations__['0'] = __torch__.A\n"
    for body in (
        "return (self.a).forward(x)",
        "b = self.a\n    return (b).forward(x)",
        "b = getattr(self, '0')\n    return (b).forward(x)",
        "b = annotate(__torch__.A, x)\n    return (b).forward(x)",
    ):
        text = f"{inner}{outer}  def forward(self: __torch__.B, x: Tensor) -> Tensor:\n    {body}\n"
        assert 3 <= largest(text) <= 4, body
    assert (
        largest(
            f"{inner}def f(x: Tensor) -> Tensor:\n  g = __torch__.h\n  return g(x)\ndef h(x: int) -> int:\n  return x\n"
        )
        == 2
    )
