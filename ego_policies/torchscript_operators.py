"""What the code of a stranger's TorchScript file may call: operators that compute tensors, and nothing else.

Left out on purpose: everything that opens files (`from_file`, `save`, `load`), replaces or exposes storages (`set_`,
`resize_`, `as_strided`, `data_ptr`), prints, warns, profiles, forks or waits, and operators of other namespaces.
"""

from __future__ import annotations

from typing import Final

OPERATORS: Final = frozenset(
    """
    abs abs_ absolute acos acosh add add_ addcdiv addcmul addmm addmv angle argmax argmin argsort asin asinh atan
    atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor bool ceil celu celu_ clamp clamp_ clamp_max
    clamp_max_ clamp_min clamp_min_ clip complex copysign cos cosh deg2rad digamma div div_ divide elu elu_ eq eq_
    erf erfc erfinv exp exp_ exp2 expm1 fix float float_power floor floor_ floor_divide floordiv fmax fmin fmod frac
    ge gelu glu gt hardshrink hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ heaviside hypot imag
    int isclose isfinite isin isinf isnan isneginf isposinf le leaky_relu leaky_relu_ lerp lgamma log log10 log1p
    log2 log_sigmoid logaddexp logical_and logical_not logical_or logical_xor logit lt masked_fill masked_fill_
    maximum minimum mish mish_ mul mul_ multiply nan_to_num nan_to_num_ ne neg neg_ negative not_equal polar pow
    pow_ prelu rad2deg real reciprocal relu relu_ relu6 relu6_ remainder round rrelu rrelu_ rsqrt rsub selu selu_
    sgn sigmoid sigmoid_ sign signbit silu silu_ sin sinc sinh softplus softshrink sqrt sqrt_ square sub sub_
    subtract tan tanh tanh_ tanhshrink threshold threshold_ true_divide trunc where xlogy zero_

    all amax amin aminmax any argwhere bincount bucketize count_nonzero cummax cummin cumprod cumsum diff dist
    frobenius_norm item kthvalue linalg_norm linalg_vector_norm log_softmax logcumsumexp logsumexp max mean median
    min mode nanmean nanquantile nansum norm prod quantile searchsorted softmax sort std std_mean sum topk trapezoid
    unique_dim var var_mean

    addbmm baddbmm bilinear bmm cdist chain_matmul cosine_similarity cross det dot einsum inner inverse kron
    linalg_cross linalg_det linalg_inv linalg_multi_dot linalg_solve linear matmul mm mv outer pairwise_distance
    tensordot trace vdot

    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d alpha_dropout alpha_dropout_ avg_pool1d avg_pool2d avg_pool3d batch_norm conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d _convolution convolution _convolution_mode dropout
    dropout_ embedding feature_alpha_dropout feature_dropout group_norm gru gru_cell instance_norm layer_norm lstm
    lstm_cell max_pool1d max_pool2d max_pool2d_with_indices max_pool3d native_layer_norm
    _native_multi_head_attention normalize one_hot pixel_shuffle pixel_unshuffle rms_norm rnn_relu rnn_relu_cell
    rnn_tanh rnn_tanh_cell scaled_dot_product_attention _transformer_encoder_layer_fwd upsample_bicubic2d
    _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d upsample_trilinear3d

    alias atleast_1d atleast_2d broadcast_tensors broadcast_to cat chunk clone column_stack concat concatenate
    contiguous copy_ detach diag diag_embed diagonal dstack expand expand_as fill fill_ flatten flip fliplr flipud
    gather hsplit hstack index index_add index_copy index_fill index_put index_put_ index_select masked_scatter
    masked_select meshgrid moveaxis movedim narrow nonzero pad pad_sequence permute ravel repeat repeat_interleave
    reshape reshape_as roll rot90 scatter scatter_ scatter_add scatter_add_ select slice split split_with_sizes
    squeeze squeeze_ stack swapaxes swapdims t take take_along_dim tensor_split tile to transpose tril triu type_as
    unbind unflatten unsafe_chunk unsafe_split unsqueeze unsqueeze_ view view_as vsplit vstack T mT data
    _unwrap_optional block_diag cartesian_prod diagflat index_add_ index_copy_ index_fill_ unfold

    arange as_tensor eye full full_like linspace logspace new_full new_ones new_zeros ones ones_like scalar_tensor
    tensor tril_indices triu_indices zeros zeros_like hann_window

    bernoulli multinomial normal rand rand_like randint randn randn_like

    device dim dtype is_complex is_floating_point is_nonzero len ndim numel shape size sym_size stride element_size
    is_contiguous is_autocast_cpu_enabled is_autocast_enabled is_grad_enabled requires_grad cpu float double half
    long type layout is_cuda

    __and__ __contains__ __derive_index __getitem__ __is__ __isnot__ __not__ __or__ __range_length __xor__ _set_item
    append add_ extend get insert keys items values pop clear copy index format Bool Int Float IntImplicit
    FloatImplicit ScalarImplicit BoolImplicit ComplexImplicit Number neg sorted list dict ceil floor floordiv
    remainder
    """.split()
)
"""Names in `aten`: pointwise, reductions, matrix products, layers, shapes, creation, random numbers, properties, and
what the language itself needs for numbers and containers."""
PRIMITIVES: Final = frozenset(
    """
    NumToTensor RaiseException abs data device dtype is_cuda isinstance layout max min ndim requires_grad shape
    type unchecked_unwrap_optional tolist rangelist TupleIndex TupleUnpack itemsize is_nested is_meta
    """.split()
)
"""Names in `prim`."""
RANDOM: Final = frozenset("bernoulli multinomial normal rand rand_like randint randn randn_like rrelu".split())
"""Those that draw random numbers whenever they run (dropout does in training only, where no policy is)."""
NAMES: Final = frozenset(
    """
    torch ops __torch__ CONSTANTS annotate unchecked_cast uninitialized getattr hasattr isinstance int float bool str
    complex len range list tuple dict min max abs all any sum round sorted zip enumerate
    Tensor Optional List Tuple Dict Final NoneType Any number Device Union Module NamedTuple Enum Interface inf nan
    True False None
    """.split()
)
"""Names that code may use without having assigned them: the language's, and those of types."""
FORBIDDEN_NAMES: Final = frozenset({"print", "fork", "awaitable"})
"""Never, even where the code assigns them: before it has, they are the language's."""
CALLED_NAMES: Final = frozenset({"getattr", "hasattr", "unchecked_cast", "annotate"})
"""Names that code may only call: what they are called with is checked."""
FIXED_NAMES: Final = frozenset({"torch", "ops", "__torch__", "CONSTANTS"}) | CALLED_NAMES
"""Names whose meaning the checks rely on: code may not assign them."""
SPECIAL_METHODS: Final = frozenset("__len__ __contains__ __getitem__ __init__ __call__ __iter__ __next__".split())
"""Methods with two underscores that a class may define; `__setstate__` would run while the file is being loaded."""
