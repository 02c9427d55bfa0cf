#!/usr/bin/env python3
"""Unit tests of report.py and gpus.py: manifests, reading statistics, choosing default rows, gates."""

import json
import pathlib
import tempfile
import unittest
from collections import Counter
from unittest import mock

import count_isa
import gpus
import report

GPU = {gpu.target: gpu for gpu in gpus.GPUS}
NAVI21, VEGA10, V3D, DG2 = GPU["radv:navi21"], GPU["radv:vega10"], GPU["v3dv:42"], GPU["anv:dg2"]
DEVICE = {"subgroup_operations": 0xFF, "subgroup_size": 64, "max_subgroup_size": 64, "matrix_shapes": "", "float16": 1}


def make_row(**changes):
    return {
        "name": "tile-f16",
        "family": "tile",
        "spv": "tile.spv",
        "dtypes": 1 << 2,
        "score": {"amd-rdna": 50},
        "requires": [],
        "coopmat": [0, 0, 0],
        "head_dim_qk": [1, 64, 1],
        "head_dim_v": [1, 64, 1],
        "spec": {"0": 64},
        "spec_from": {},
        "subgroup": None,
        "subgroup_min": 0,
        "push": 64,
        "lab": {"macs_per_lane": 100, "qk_trip": 1, "pv_trip": 1},
        **changes,
    }


def make_judged(gpu=NAVI21, row=None, valu=100, issued=120, **figures):
    known = {"subgroup_size": 32, "registers": 96, "occupancy": 8, "spills": 0, "scratch": 0, "cycles": None}
    loop = count_isa.LoopCount(Counter(valu=valu, issued=issued, mac=100), [], [], 100)
    return report.Judged(gpu, row or make_row(), "ok", figures=gpus.Figures(**{**known, **figures}), loop=loop)


class Manifest(unittest.TestCase):
    def load(self, rows):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "rows.json"
            (path.parent / "tile.spv").write_bytes(b"")
            path.write_text(json.dumps(rows))
            return report.load_manifest(path)

    def test_good(self):
        self.assertEqual(self.load([make_row()])[0]["spv"].name, "tile.spv")

    def test_bad(self):
        incomplete = make_row()
        del incomplete["spec"]
        for rows, words in [
            ([], "at least one row"),
            ([incomplete], "tile-f16: no spec"),
            ([make_row(requires=["flux"])], "requires \\['flux'\\]"),
            ([make_row(spec_from={"1": "moon"})], "spec_from \\['moon'\\]"),
            ([make_row(spv="none.spv")], "no SPIR-V at"),
        ]:
            with self.assertRaisesRegex(report.ManifestError, words):
                self.load(rows)

    def test_constants(self):
        row = make_row(spec_from={"1": "head_dim_qk", "2": "aligned", "3": "causal"}, lab={"causal": 1})
        self.assertEqual(report.constants_of(row), {"0": 64, "1": 64, "2": 1, "3": 1})


class Statistics(unittest.TestCase):
    def figures(self, gpu, subgroup=64, stderr="", **values):
        statistics = [{"name": name.replace("_", " "), "value": value} for name, value in values.items()]
        return gpus.read_figures(gpu, {"subgroup_size": subgroup, "statistics": statistics}, stderr)

    def radv(self, gpu, subgroup, **changes):
        values = {"VGPRs": 84, "Subgroups_per_SIMD": 10, "Spilled_SGPRs": 0, "Spilled_VGPRs": 2, "Scratch_size": 64}
        return self.figures(gpu, subgroup, **{**values, "Inverse_Throughput": 5, **changes})

    def test_radv(self):
        figures = self.radv(NAVI21, 32)
        self.assertEqual((figures.registers, figures.occupancy), (84, 10))
        self.assertEqual((figures.spills, figures.scratch, figures.cycles), (2, 64, 5))
        self.assertEqual(self.radv(NAVI21, 64).occupancy, 5)
        self.assertEqual(self.radv(VEGA10, 64).occupancy, 10)

    def test_v3d_reads_the_shader_db_line_of_the_kernel(self):
        line = "MESA: info: SHADER-DB-{} - MESA_SHADER_COMPUTE shader: {} inst, {} threads, 3 loops, 388 uniforms, "
        line += "{} max-temps, {} spills:fills, 8 sfu-stalls, 1409 inst-and-stalls, 38 nops\n"
        stderr = line.format("set event cs", 7, 4, 3, "0:0") + line.format("3c" * 32, 1401, 2, 60, "1:2")
        figures = self.figures(V3D, 16, stderr, Spill_Size=2560, TMU_Spills=2560)
        self.assertEqual((figures.registers, figures.occupancy, figures.spills), (60, 2, 3))
        with self.assertRaisesRegex(gpus.UnreadableStatistics, "shader-db"):
            self.figures(V3D, 16, "")

    def test_missing_statistic(self):
        with self.assertRaisesRegex(gpus.UnreadableStatistics, "'Max live registers'; it has Spills"):
            self.figures(DG2, 8, Spills=0)


class Gates(unittest.TestCase):
    def failures(self, judged):
        report.judge(judged)
        return judged.failures

    def test_passes(self):
        self.assertEqual(self.failures(make_judged()), [])

    def test_fails(self):
        self.assertEqual(self.failures(make_judged(scratch=16)), ["scratch 16 above 0"])
        self.assertEqual(self.failures(make_judged(valu=125)), ["M/V 0.8 below 0.86"])
        self.assertEqual(self.failures(make_judged(occupancy=5)), ["occupancy 5 below 6"])

    def test_storage_type_chooses_the_gate(self):
        f32 = make_row(dtypes=1 << 1)
        self.assertEqual(self.failures(make_judged(VEGA10, f32, valu=130)), ["M/V 0.769 below 0.8"])
        self.assertEqual(self.failures(make_judged(VEGA10, valu=130)), [])

    def test_an_uncounted_loop_fails(self):
        judged = make_judged()
        judged.loop, judged.loop_error = None, "the row has no lab figures"
        self.assertEqual(self.failures(judged), ["hot loop not counted: the row has no lab figures"])

    def test_a_kernel_that_the_compiler_emptied_fails(self):
        judged = make_judged(GPU["hk"], occupancy=1024, loops=0)
        judged.loop = None
        report.count_loop(judged, {})
        self.assertRegex(self.failures(judged)[0], "the compiler left no loop")

    def test_families_without_a_counted_loop_have_the_general_gates_only(self):
        decode = make_row(family="decode", lab=None)
        judged = make_judged(row=decode, spills=1)
        judged.loop = None
        self.assertEqual(self.failures(judged), ["spills 1 above 0"])


    def test_a_row_of_last_resort_has_the_general_gates_only(self):
        wide = make_row(head_dim_v=[1, 576, 1])
        self.assertEqual(self.failures(make_judged(row=wide, valu=200)), [])
        self.assertEqual(self.failures(make_judged(row=wide, spills=1)), ["spills 1 above 0"])

    def test_a_budget_excuses_as_far_as_it_goes(self):
        budgets = [gpus.Budget("radv:navi21", "tile-.*", "spills", 4, "the compiler's")]
        with mock.patch.object(gpus, "BUDGETS", budgets):
            judged = make_judged(spills=4)
            self.assertEqual(self.failures(judged), [])
            self.assertEqual(judged.excused, ["spills 4 above 0: the compiler's"])
            self.assertEqual(self.failures(make_judged(spills=5)), ["spills 5 above 0, and above the budget of 4"])
            self.assertEqual(self.failures(make_judged(row=make_row(name="naive"), spills=4)), ["spills 4 above 0"])
            self.assertEqual(self.failures(make_judged(VEGA10, spills=4)), ["spills 4 above 0"])


class Markdown(unittest.TestCase):
    def test_tables(self):
        device = {"name": "Some GPU ", "driver": "radv", "driver_info": "Mesa 1.2"}
        good, bad, merge = make_judged(), make_judged(scratch=16), make_judged(row=make_row(name="m", family="merge"))
        other = report.Judged(NAVI21, make_row(name="other"), "refused", "too wide")
        for judged in (good, bad, merge):
            report.judge(judged)
        few = make_judged(row=make_row(name="few", family="decode"), spills=2)
        with mock.patch.object(gpus, "BUDGETS", [gpus.Budget("radv:navi21", "few", "spills", 4, "why")]):
            report.judge(few)
        wide = make_judged(row=make_row(name="wide", head_dim_v=[1, 576, 1]), valu=200)
        report.judge(wide)
        devices = {NAVI21: device, DG2: "no answer"}
        text = report.markdown(devices, [bad, good, other, merge, few, wide], False, "command")
        for line in [
            "Drivers: Mesa 1.2.",
            "| radv:navi21 | Some GPU | 5 | 3 | 1 | tile-f16 |",
            "| anv:dg2 | **none**: no answer | | | | |",
            "Some GPU, radv; occupancy in waves/SIMD.",
            "| tile-f16 | 32 | 96 | 8 | 0 + 16 |  | 1 | 0.833 | **fails**: scratch 16 above 0 |",
            "| tile-f16 | 32 | 96 | 8 | 0 |  | 1 | 0.833 | passes |",
            "| few | 32 | 96 | 8 | 2 |  | 1 | 0.833 | budget: spills 2 above 0: why |",
            "| wide | 32 | 96 | 8 | 0 |  | 0.5 | 0.833 | no spills (last resort) |",
            "Also without spills: m.",
        ]:
            self.assertIn(line + "\n", text)
        self.assertNotIn("other", text)
        self.assertIn("| other |  |  |  |  |  |  |  | refused: too wide |", report.markdown(devices, [other], True, ""))


class Defaults(unittest.TestCase):
    def run_rows(self, rows, outcomes, **options):
        def measure(lab, gpu, device, row, timeout):
            status = outcomes[row["name"]]
            return make_judged(row=row) if status == "ok" else report.Judged(gpu, row, status, "why")

        with mock.patch.object(report, "measure", measure):
            results = report.judge_competition(None, NAVI21, DEVICE, rows, 1, options.get("measure_all", False))
        return [(r.row["name"], r.is_default, bool(r.failures)) for r in results]

    def test_best_score_that_runs_is_the_default(self):
        rows = [make_row(name=name, score={"amd-rdna": s}) for name, s in zip("abcd", (10, 40, 30, 20), strict=True)]
        outcomes = {"a": "ok", "b": "refused", "c": "ok", "d": "ok"}
        self.assertEqual(self.run_rows(rows, outcomes), [("b", False, False), ("c", True, False)])
        everything = self.run_rows(rows, outcomes, measure_all=True)
        self.assertEqual([name for name, *_ in everything], ["b", "c", "d", "a"])
        self.assertEqual(sum(is_default for _, is_default, _ in everything), 1)

    def test_a_crash_fails_and_the_next_row_is_judged_too(self):
        rows = [make_row(name="a", score={"amd-rdna": 2}), make_row(name="b", score={"amd-rdna": 1})]
        self.assertEqual(self.run_rows(rows, {"a": "crashed", "b": "ok"}), [("a", True, True), ("b", True, False)])

    def test_negative_scores_are_never_chosen(self):
        self.assertEqual(self.run_rows([make_row(score={"amd-rdna": -1})], {"tile-f16": "ok"}), [])

    def test_eligibility(self):
        self.assertEqual(report.why_ineligible(make_row(requires=["fp16"]), DEVICE), "")
        self.assertEqual(report.why_ineligible(make_row(subgroup_min=128), DEVICE), "subgroups smaller than 128")
        matrix = make_row(coopmat=[16, 16, 16])
        self.assertIn("no matrix shape", report.why_ineligible(matrix, DEVICE))
        listed = {**DEVICE, "matrix_shapes": "16x16x16:f16*f16+f16 16x16x16:f16*f16+f32"}
        self.assertEqual(report.why_ineligible(matrix, listed), "")


if __name__ == "__main__":
    unittest.main()
