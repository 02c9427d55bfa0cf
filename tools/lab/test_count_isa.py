#!/usr/bin/env python3
"""Unit tests of count_isa.py, on small made-up loops in each vendor's assembly."""

import textwrap
import unittest

import count_isa

# An outer loop over key tiles with a QK^T loop (2 multiply-adds), exponentials, a branch that is rarely taken, and a
# PV loop (3 multiply-adds). With trips 4 and 2 a tile has 4 x 2 + 2 x 3 = 14 multiply-adds.
TRIPS = (4, 2)
MACS = 14

AMD = """
    BB0:
    \tv_mov_b32_e32 v1, 0                    ; 7e020280
    BB1:
    \ts_cmp_ge_u32 s0, s1                    ; bf090100
    \ts_cbranch_scc1 BB9                     ; bf850000
    BB2:
    \tds_read_b128 v[4:7], v1                ; d9fe0000
    \ts_waitcnt lgkmcnt(0)                   ; bf8cc07f
    \tv_fmac_f32_e32 v8, v4, v5              ; 56101104
    \tv_fma_mix_f32 v9, v4, v5, v9           ; cc200000
    \ts_cbranch_scc0 BB2                     ; bf84fff0
    BB3:
    \ts_cbranch_vccz BB5                     ; bf860000
    BB4:
    \tv_mul_f32_e32 v8, v8, v2               ; 10101108
    \tv_mul_f32_e32 v9, v9, v2               ; 10121309
    BB5:
    \tv_exp_f32_e32 v3, v8                   ; 7e064b08
    BB6:
    \tglobal_load_dwordx4 v[4:7], v1, s[2:3] ; dc388000
    \tv_dual_fmac_f32 v8, v4, v5 :: v_dual_mul_f32 v10, v4, v5 ; c8060000
    \tv_dot2_f32_f16 v9, v4, v5, v9          ; cc130000
    \ts_cbranch_scc0 BB6                     ; bf84fff0
    BB7:
    \ts_barrier                              ; bf8a0000
    \ts_branch BB1                           ; bf820000
    BB9:
    \tv_mov_b32_e32 v1, 0                    ; 7e020280
    \ts_endpgm                               ; bf810000
"""

NVK = """
    block.u 0 L2 [] -> {
          r0      = mov rZ                                      // delay=1
    } -> [1]
    block.u 1 L1 [0, 5] -> {
          up0     = isetp.ge.u32 ur6 ur5                        // delay=9 wt=000001
                    bra !up0 L9                                 // delay=1
    } -> [2, 6]
    block.u 2 L3 [1, 2] -> {
          r4..8   = ld.shared.a32.b128 [r1]                     // delay=2 wr:0
          r8      = ffma.ftz r4 r5 r8                           // delay=2 wt=000001
          r9      = ffma.ftz r4 r5 r9                           // delay=2
                    bra up1 L3                                  // delay=1
    } -> [2, 3]
    block.u 3 L4 [2] -> {
    @!p0            bra pT L5                                   // delay=1
    } -> [4, 5]
    block 4 L6 [3] -> {
          r8      = fmul.ftz r8 r2                              // delay=2
          r9      = fmul.ftz r9 r2                              // delay=2
    } -> [5]
    block.u 5 L5 [3, 4] -> {
          r3      = mufu.ex2 r8                                 // delay=2 wr:0
    } -> [6]
    block.u 6 L7 [5, 6] -> {
          r4..8   = ld.global.a64.b128 [r62..64], pT            // delay=2 wr:0
          r8      = ffma.ftz r4 r5 r8                           // delay=2
          r9      = hfma2 r4 r5 r9                              // delay=2
                    bra up1 L7                                  // delay=1
    } -> [6, 7]
    block.u 7 L8 [6] -> {
          ur6     = uiadd3 ur6 0x20 rZ                          // delay=1
                    bra pT L1                                   // delay=1
    } -> [1]
    block.u 8 L9 [1] -> {
                    exit                                        // delay=1
    }
"""

IR3 = """
    ; instructions
    @in(r0.x)\tin0 (wrmask=0x7)
    mov.f32f32 r0.x, c0.x
    l1:
    cmps.s.ge p0.x, r0.x, r0.y
    br p0.x, #l9
    l2:
    (ss)ldl.f32 r4.x, l[r1.x], 4
    (rpt1)mad.f32 r8.x, (r)r4.x, r5.x, (r)r8.x
    (nop2) add.u r1.x, r1.x, r1.y
    br p0.x, #l2
    l3:
    br !p0.x, #l5
    l4:
    (rpt1)mul.f r8.x, (r)r8.x, r2.x
    l5:
    exp2 r3.x, r8.x
    l6:
    (sy)ldib.b.untyped.1d.f32.4.imm.base0 r4.x, r1.x, 1
    (rpt2)mad.f32 r8.x, (r)r4.x, r5.x, (r)r8.x
    br p0.x, #l6
    l7:
    (rpt1)nop
    bar.g
    jump #l1
    l9:
    end
"""

INTEL = """
    mov(8)          g51<1>UD        g0.1<0,1,0>UD                   { align1 WE_all 1Q };
    LABEL1:
    cmp.ge.f0.0(8)  null<1>UD       g39<0,1,0>UD    g89.3<0,1,0>UD  { align1 WE_all 1Q I@1 };
    (+f0.0) break(8) JIP:  LABEL8         UIP:  LABEL8              { align1 1Q };
    LABEL2:
    send(8)         g89UD           g82UD           nullUD          0x0210c580                0x00000000
                    slm MsgDesc: ( load, a32, d32, V4 )  base_offset 0  { align1 1Q $0 };
    sync nop(1)                     null<0,1,0>UB                   { align1 WE_all 1N I@2 };
    mad(8)          g8<1>F          g8<8,8,1>F      g4<8,8,1>F      g5<1,1,1>F { align1 1Q };
    mad(8)          g9<1>F          g9<8,8,1>F      g4<8,8,1>F      g5<1,1,1>F { align1 1Q };
    (-f0.0) while(8) JIP:  LABEL2                                   { align1 1Q };
    (+f0.0) if(8)   JIP:  LABEL4          UIP:  LABEL4              { align1 1Q };
    mul(8)          g8<1>F          g8<8,8,1>F      g2<8,8,1>F      { align1 1Q };
    mul(8)          g9<1>F          g9<8,8,1>F      g2<8,8,1>F      { align1 1Q };
    LABEL4:
    endif(8)        JIP:  LABEL5                                    { align1 1Q };
    LABEL5:
    math exp(8)     g3<1>F          g8<8,8,1>F      null<8,8,1>F    { align1 1Q @2 $1 };
    LABEL6:
    send(8)         g89UD           g82UD           nullUD          0x0210c580                0x00000000
                    ugm MsgDesc: ( load, a64, d32, V4 )  base_offset 0  { align1 1Q $0 };
    mad(8)          g8<1>F          g8<8,8,1>F      g4<8,8,1>F      g5<1,1,1>F { align1 1Q };
    mad(8)          g9<1>F          g9<8,8,1>F      g4<8,8,1>F      g5<1,1,1>F { align1 1Q };
    mad(8)          g7<1>F          g7<8,8,1>F      g4<8,8,1>F      g5<1,1,1>F { align1 1Q };
    (-f0.0) while(8) JIP:  LABEL6                                   { align1 1Q };
    LABEL8:
    while(8)        JIP:  LABEL1                                    { align1 1Q };
"""

COOPERATIVE_AMD = """
    BB0:
    \ts_mov_b32 s0, 0                        ; be800380
    BB1:
    \tds_load_b128 v[4:7], v1                ; d9fe0000
    \tds_load_b128 v[8:11], v1               ; d9fe0000
    \tv_wmma_f32_16x16x16_f16 v[16:23], v[4:11], v[4:11], v[16:23] ; cc400010
    \tv_wmma_f32_16x16x16_f16 v[16:23], v[4:11], v[4:11], v[16:23] ; cc400010
    \tv_exp_f32_e32 v3, v8                   ; 7e064b08
    \tv_cvt_f16_f32_e32 v3, v3               ; 7e061503
    \tv_mul_f32_e32 v3, v3, v3               ; 10060703
    \ts_cbranch_scc0 BB1                     ; bf84fff0
    BB2:
    \ts_endpgm                               ; bf810000
"""


def count(isa, text, **options):
    return count_isa.count(isa, textwrap.dedent(text), **options)


class HotLoop(unittest.TestCase):
    def check(self, isa, text, valu, issued, rare_valu, **others):
        result = count(isa, text, trips=TRIPS, useful_macs=MACS)
        self.assertEqual(result.inner_trips, list(TRIPS))
        self.assertEqual(result.inner_macs, [2, 3])
        self.assertEqual(result.counts["mac"], MACS)
        self.assertEqual(result.counts["valu"], valu)
        self.assertEqual(result.counts["issued"], issued)
        self.assertAlmostEqual(result.macs_per_valu, MACS / valu)
        self.assertAlmostEqual(result.macs_per_issue, MACS / issued)
        self.assertIsNone(result.valu_per_mma)
        self.assertEqual({name: result.counts[name] for name in others}, others)
        without = count(isa, text, trips=TRIPS, useful_macs=MACS, rare_branches=1)
        self.assertEqual(without.counts["valu"], valu - rare_valu)

    def test_amd(self):
        # valu: 4 x 2 in QK^T, 2 x 2 in PV (one dual, one dot product), 2 rescaling, 1 exponential
        self.check("amd", AMD, valu=15, issued=36, rare_valu=2, shared=4, memory=2, wait=4, barrier=1, dual=2)

    def test_nvk(self):
        self.check("nvk", NVK, valu=15, issued=32, rare_valu=2, shared=4, memory=2, scalar=2, transcendental=1)

    def test_ir3(self):
        # each (rptN) issues N + 1 times; (nopN) and nop idle
        self.check("ir3", IR3, valu=22, issued=48, rare_valu=2, shared=4, memory=2, nop=10, barrier=1)

    def test_intel(self):
        self.check("intel", INTEL, valu=18, issued=34, rare_valu=2, shared=4, memory=2, sync=4, transcendental=1)


class TripCounts(unittest.TestCase):
    def test_unrolled_loop_takes_the_trip_count_that_fits(self):
        # QK^T unrolled: its multiply-adds stand in the outer loop; only PV's loop, of 2 trips, is left
        unrolled = AMD.replace("\ts_cbranch_scc0 BB2                     ; bf84fff0\n", "")
        unrolled = unrolled.replace("v_fma_mix_f32 v9, v4, v5, v9           ; cc200000", "v_mov_b32 v9, v9")
        result = count("amd", unrolled, trips=(4, 2), useful_macs=7)
        self.assertEqual(result.inner_trips, [2])
        self.assertEqual(result.counts["mac"], 7)

    def test_wrong_trip_counts_are_refused(self):
        with self.assertRaisesRegex(count_isa.CountError, "trip counts right"):
            count("amd", AMD, trips=(8, 8), useful_macs=MACS)

    def test_more_loops_than_trip_counts(self):
        with self.assertRaisesRegex(count_isa.CountError, "2 inner loops"):
            count("amd", AMD, trips=(4,), useful_macs=MACS)


class TwoWays(unittest.TestCase):
    def test_only_the_way_with_the_multiply_adds_of_a_tile_counts(self):
        # a second PV loop for masked tiles, one key at a time, chosen by a branch
        masked = "\ts_cbranch_vccz BB6 ; bf\nBB20:\n\tv_fmac_f32 v8, v4, v5 ; 56\n\tv_cndmask_b32 v8, v8, v5 ; 02\n"
        masked += "\ts_cbranch_scc0 BB20 ; bf\nBB21:\n\ts_branch BB7 ; bf\nBB6:\n"
        text = textwrap.dedent(AMD)
        self.assertEqual(text.count("BB6:\n"), 1)
        result = count("amd", text.replace("BB6:\n", masked), trips=TRIPS, useful_macs=MACS)
        plain = count("amd", AMD, trips=TRIPS, useful_macs=MACS)
        self.assertEqual(result.inner_macs, [2, 3])
        self.assertEqual(result.counts["valu"], plain.counts["valu"])
        self.assertEqual(result.counts["issued"], plain.counts["issued"] + 1)  # the branch itself


class CooperativeMatrices(unittest.TestCase):
    def test_ratios_are_per_matrix_instruction(self):
        result = count("amd", COOPERATIVE_AMD)
        self.assertEqual(result.counts["mma"], 2)
        self.assertEqual(result.valu_per_mma, 1.5)
        self.assertEqual(result.shared_per_mma, 1.0)
        self.assertIsNone(result.macs_per_valu)


class Errors(unittest.TestCase):
    def test_no_loop(self):
        with self.assertRaisesRegex(count_isa.CountError, "no loop"):
            count("amd", "BB0:\n\tv_mov_b32_e32 v1, 0 ; 7e\n\ts_endpgm ; bf\n")

    def test_no_instructions(self):
        with self.assertRaisesRegex(count_isa.CountError, "no instructions"):
            count("nvk", "nothing here")

    def test_unreachable_code_does_not_hide_a_loop(self):
        text = textwrap.dedent(AMD).replace("BB3:\n", "\ts_branch BB3 ; bf\nBB30:\n\ts_branch BB2 ; bf\nBB3:\n")
        self.assertEqual(count("amd", text, trips=TRIPS, useful_macs=MACS).counts["mac"], MACS)

    def test_section(self):
        text = "device\n---- NIR shader (x)\nnir\n---- NAK assembly (y)\nblock\n"
        self.assertEqual(count_isa.section_of(text, "NAK assembly"), "block\n")
        with self.assertRaisesRegex(count_isa.CountError, "it has \\['NIR shader', 'NAK assembly'\\]"):
            count_isa.section_of(text, "Assembly")


if __name__ == "__main__":
    unittest.main()
