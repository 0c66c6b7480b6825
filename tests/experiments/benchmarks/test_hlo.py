"""Tests what is read in the text of compiled programs."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks import hlo

# Lines of a CD update as XLA compiled it for eight CPUs, fewer arrays in it, and for a TPU.
CPU = """\
HloModule jit_step, is_scheduled=true

%add.1 (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add = f32[] add(%x, %y)
}

ENTRY %main.24_spmd (param: f32[100,784], param.1: f32[100,500]) -> (f32[784,500], f32[784]) {
  %param = f32[100,784]{1,0} parameter(0), sharding={devices=[8,1]<=[8]}
  %param.1 = f32[100,500]{1,0} parameter(1), sharding={devices=[8,1]<=[8]}
  %dot.4 = f32[784,500]{1,0} dot(%param, %param.1), lhs_contracting_dims={0}
  %bitcast.16 = f32[784]{0} bitcast(%param), metadata={op_name="jit(step)/reduce_sum"}
  ROOT %all-reduce.10 = (f32[784,500]{1,0}, /*index=1*/f32[784]{0}) all-reduce(%dot.4, \
/*index=1*/%bitcast.16), channel_id=2, replica_groups=mesh['axis_0'=1,'axis_1'=8] {'axis_1'}, \
use_global_device_ids=true, to_apply=%add.1
}
"""
ASYNCHRONOUS = """\
ENTRY %main.1 (p: bf16[10,8]) -> bf16[40,8] {
  %p = bf16[10,8]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather-start = (bf16[10,8]{1,0:T(8,128)(2,1)}, bf16[40,8]{1,0:T(8,128)(2,1)S(1)}) \
all-gather-start(%p), channel_id=1, dimensions={0}
  ROOT %all-gather-done = bf16[40,8]{1,0:T(8,128)(2,1)S(1)} all-gather-done(%all-gather-start)
}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPU, [("all-reduce", 4 * (784 * 500 + 784))]),
        (ASYNCHRONOUS, [("all-gather", 2 * 10 * 8)]),
        (CPU.replace("all-reduce(", "add("), []),
    ],
    ids=["all-reduce", "asynchronous", "none"],
)
def test_collectives(text, expected):
    assert hlo.collectives(text) == expected


# A loop of a TPU's program: its kernels, a loop of two turns, a prefetch, and single numbers.
TPU = """\
HloModule jit_run, is_scheduled=true

%fused (p0: f32[50,6,12], p1: s32[]) -> f32[6,12] {
  %p0 = f32[50,6,12]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  ROOT %slice = f32[6,12]{1,0:T(8,128)S(1)} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,6,12}
}

%around (r0: f32[50,6,12], r1: s32[]) -> f32[6,12] {
  %r0 = f32[50,6,12]{2,1,0:T(8,128)} parameter(0)
  %r1 = s32[]{:T(128)} parameter(1)
  ROOT %x.1 = f32[6,12]{1,0:T(8,128)S(1)} fusion(%r0, %r1), kind=kLoop, calls=%fused
}

%product (q0: f32[6,12], q1: f32[12,8]) -> f32[6,8] {
  %q0 = f32[6,12]{1,0:T(8,128)S(1)} parameter(0)
  %q1 = f32[12,8]{1,0:T(8,128)S(1)} parameter(1)
  ROOT %convolution.1 = f32[6,8]{1,0:T(8,128)S(1)} convolution(%q0, %q1), dim_labels=bf_io->bf
}

%inner_condition (t: (s32[], f32[6,8])) -> pred[] {
  %t = (s32[]{:T(128)}, f32[6,8]{1,0:T(8,128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(2)
  %i = s32[]{:T(128)} get-tuple-element(%t), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%inner (u: (s32[], f32[6,8])) -> (s32[], f32[6,8]) {
  %u = (s32[]{:T(128)}, f32[6,8]{1,0:T(8,128)}) parameter(0)
  %h = f32[6,8]{1,0:T(8,128)} get-tuple-element(%u), index=1
  %copy.1 = f32[6,8]{1,0:T(8,128)} copy(%h), backend_config={"estimated_cycles":"100"}
  ROOT %v = (s32[]{:T(128)}, f32[6,8]{1,0:T(8,128)}) tuple(%u, %copy.1)
}

%body (w: (s32[], f32[50,6,12], f32[12,8])) -> (s32[], f32[50,6,12], f32[12,8]) {
  %w = (s32[]{:T(128)}, f32[50,6,12]{2,1,0:T(8,128)}, f32[12,8]{1,0:T(8,128)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%w), index=0
  %all = f32[50,6,12]{2,1,0:T(8,128)} get-tuple-element(%w), index=1
  %weights = f32[12,8]{1,0:T(8,128)} get-tuple-element(%w), index=2
  %next = s32[]{:T(128)S(6)} add(%j, %j)
  %copy-start = (f32[12,8]{1,0:T(8,128)S(1)}, f32[12,8]{1,0:T(8,128)}, u32[]{:S(2)}) \
copy-start(%weights)
  %x = f32[6,12]{1,0:T(8,128)S(1)} fusion(%all, %j), kind=kLoop, calls=%around
  %copy-done = f32[12,8]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %y = f32[6,8]{1,0:T(8,128)S(1)} fusion(%x, %copy-done), kind=kOutput, calls=%product, \
backend_config={"window_config":{"estimated_cycles":"984"}}
  %start = (s32[]{:T(128)}, f32[6,8]{1,0:T(8,128)}) tuple(%j, %y)
  %while.1 = (s32[]{:T(128)}, f32[6,8]{1,0:T(8,128)}) while(%start), \
condition=%inner_condition, body=%inner
  ROOT %end = (s32[]{:T(128)}, f32[50,6,12]{2,1,0:T(8,128)}, f32[12,8]{1,0:T(8,128)}) \
tuple(%next, %all, %weights)
}

%condition (c: (s32[], f32[50,6,12], f32[12,8])) -> pred[] {
  ROOT %c = pred[]{:T(512)} parameter(0)
}

ENTRY %main.2 (a: (s32[], f32[50,6,12], f32[12,8])) -> (s32[], f32[50,6,12], f32[12,8]) {
  %a = (s32[]{:T(128)}, f32[50,6,12]{2,1,0:T(8,128)}, f32[12,8]{1,0:T(8,128)}) parameter(0)
  ROOT %while.2 = (s32[]{:T(128)}, f32[50,6,12]{2,1,0:T(8,128)}, f32[12,8]{1,0:T(8,128)}) \
while(%a), condition=%condition, body=%body
}
"""


def test_work_of_an_update():
    update = hlo.update(TPU)
    assert update.flops == 2 * 6 * 12 * 8
    # A slice of the batches, its index, the weights fetched, and two copies, read and written.
    assert update.main_bytes == 4 * (6 * 12 + 1 + 12 * 8 + 2 * 2 * 6 * 8)
    assert (update.kernels, update.cycles, update.unestimated) == (4, 984 + 2 * 100, 1)
    assert update.collectives == []


def test_a_loop_of_unknown_length_is_refused():
    expected = "^the text does not say how often a loop turns: %while.1 = "
    with pytest.raises(ValueError, match=expected):
        hlo.update(TPU.replace("constant(2)", "parameter(1)"))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((7, 6), {}),
        ((7, 6), {"padding": ((2, 2), (0, 1)), "window_strides": (2, 1)}),
        ((3, 4), {"padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 1), "rhs_dilation": (1, 2)}),
    ],
    ids=["valid", "padded", "transposed"],
)
def test_convolutions_are_counted_without_zeros(shape, settings):
    """What ones add up to is the number of multiplications."""
    settings = {"padding": "VALID", "window_strides": (1, 1), **settings}
    layout = ("NHWC", "HWIO", "NHWC")
    image, filters = jnp.ones((4, *shape, 2)), jnp.ones((3, 2, 2, 5))

    def convolve(image, filters):
        return jax.lax.conv_general_dilated(image, filters, dimension_numbers=layout, **settings)

    compiled = jax.jit(convolve).lower(image, filters).compile()
    assert hlo.update(compiled.as_text()).flops == 2 * int(compiled(image, filters).sum())
