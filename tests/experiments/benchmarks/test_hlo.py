"""Tests what is read in the text of compiled programs."""

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
