#!/usr/bin/env python3
"""Unit tests of report.py, gpus.py, answers.py and baseline.py.

Manifests, reading statistics, choosing default rows, gates; answers that are kept, runs that are stopped and go on;
the comparison with a baseline.
"""

import contextlib
import gzip
import importlib.util
import io
import json
import os
import pathlib
import signal
import tempfile
import threading
import time
import unittest
from collections import Counter
from unittest import mock

import answers
import baseline
import count_isa
import gpus
import report

GPU = {gpu.target: gpu for gpu in gpus.GPUS}
NAVI21, VEGA10, V3D, DG2 = GPU["radv:navi21"], GPU["radv:vega10"], GPU["v3dv:42"], GPU["anv:dg2"]
DEVICE = {"subgroup_operations": 0xFF, "subgroup_size": 64, "max_subgroup_size": 64, "matrix_shapes": "", "float16": 1}
DEVICE |= {"name": "Some GPU ", "driver": "radv", "driver_info": "Mesa 1.2"}


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

    def test_every_source_of_constants_is_known(self):
        """What rows may take constants from, src/kernel/generate.py says."""
        kernel = pathlib.Path(__file__).resolve().parents[2] / "src" / "kernel" / "generate.py"
        spec = importlib.util.spec_from_file_location("generate", kernel)
        generate = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(generate)
        self.assertEqual(set(generate.SOURCES) - set(report.SPEC_SOURCES), {"literal", "head_dim_qk", "head_dim_v"})

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
        return self.figures(gpu, subgroup, **{**values, "Inverse_Throughput": 5, "Instructions": 9, **changes})

    def test_radv(self):
        figures = self.radv(NAVI21, 32)
        self.assertEqual((figures.registers, figures.occupancy), (84, 10))
        self.assertEqual((figures.spills, figures.scratch, figures.cycles, figures.instructions), (2, 64, 5, 9))
        self.assertEqual(self.radv(NAVI21, 64).occupancy, 5)
        self.assertEqual(self.radv(VEGA10, 64).occupancy, 10)

    def test_v3d_reads_the_shader_db_line_of_the_kernel(self):
        line = "MESA: info: SHADER-DB-{} - MESA_SHADER_COMPUTE shader: {} inst, {} threads, 3 loops, 388 uniforms, "
        line += "{} max-temps, {} spills:fills, 8 sfu-stalls, 1409 inst-and-stalls, 38 nops\n"
        stderr = line.format("set event cs", 7, 4, 3, "0:0") + line.format("3c" * 32, 1401, 2, 60, "1:2")
        figures = self.figures(V3D, 16, stderr, Spill_Size=2560, TMU_Spills=2560)
        self.assertEqual((figures.registers, figures.occupancy, figures.spills), (60, 2, 3))
        self.assertEqual((figures.cycles, figures.instructions), (1409, 1401))
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
        device = DEVICE
        good, bad, merge = make_judged(), make_judged(scratch=16), make_judged(row=make_row(name="m", family="merge"))
        other = report.Judged(NAVI21, make_row(name="other"), "refused", "too wide")
        for judged in (good, bad, merge):
            report.judge(judged)
        few = make_judged(row=make_row(name="few", family="decode"), spills=2)
        with mock.patch.object(gpus, "BUDGETS", [gpus.Budget("radv:navi21", "few", "spills", 4, "why")]):
            report.judge(few)
        wide = make_judged(row=make_row(name="wide", head_dim_v=[1, 576, 1]), valu=200)
        report.judge(wide)
        peak = make_judged(row=make_row(name="fma", family="peak"), spills=2)
        bad_peak = report.Judged(NAVI21, make_row(name="dot", family="peak"), "crashed", "SIGABRT: no")
        devices = {NAVI21: device, DG2: "no answer"}
        text = report.markdown(devices, [bad, good, other, merge, few, wide, peak, bad_peak], False, "command")
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
            "Peak rows, which have no gates: 1 compile; fma with 2 spills, scratch 0; dot crashed (SIGABRT: no).",
        ]:
            self.assertIn(line + "\n", text)
        self.assertNotIn("other", text)
        self.assertIn("| other |  |  |  |  |  |  |  | refused: too wide |", report.markdown(devices, [other], True, ""))


class Defaults(unittest.TestCase):
    def run_rows(self, rows, outcomes, **options):
        def measure(compilers, keeper, gpu, device, row):
            status = outcomes[row["name"]]
            return make_judged(row=row) if status == "ok" else report.Judged(gpu, row, status, "why")

        with mock.patch.object(report, "measure", measure):
            results = report.judge_competition(None, None, NAVI21, DEVICE, rows, options.get("measure_all", False))
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

    def test_peak_rows_are_all_measured_and_held_to_nothing(self):
        rows = [make_row(name=name, family="peak", score={"amd-rdna": s}) for name, s in (("fma", 50), ("dot", -1))]
        self.assertNotEqual(*map(report.competition_of, rows))
        for row, outcome in zip(rows, ("ok", "crashed"), strict=True):
            self.assertEqual(self.run_rows([row], {row["name"]: outcome}), [(row["name"], False, False)])

    def test_parts_of_a_form_compete_only_where_they_serve_one_rule(self):
        delta, dplr = 1 << 15, 1 << 16
        parts = [make_row(family="state", supports=report.ROW_LEAPS & 1 << 25 | rule) for rule in (delta, dplr)]
        self.assertNotEqual(*map(report.competition_of, parts))
        walks = [make_row(family="state", supports=rule) for rule in (delta, dplr)]
        self.assertEqual(*map(report.competition_of, walks))

    def test_peak_rows_may_ask_for_what_the_lab_does_not_know(self):
        peak = make_row(name="peak-coopmat-s8-s32-16x16x32", family="peak", requires=["flux"], coopmat=[16, 16, 32])
        self.assertIn("flux, which the lab does not know", report.why_ineligible(peak, DEVICE))
        peak["requires"] = []
        floats = {**DEVICE, "matrix_shapes": "16x16x32:f16*f16+f32"}
        self.assertEqual(report.why_ineligible(peak, floats), "no matrix shape 16x16x32:s8*s8+s32")
        self.assertEqual(report.why_ineligible(peak, {**DEVICE, "matrix_shapes": "16x16x32:s8*s8+s32"}), "")

    def test_eligibility(self):
        self.assertEqual(report.why_ineligible(make_row(requires=["fp16"]), DEVICE), "")
        self.assertEqual(report.why_ineligible(make_row(subgroup_min=128), DEVICE), "subgroups smaller than 128")
        matrix = make_row(coopmat=[16, 16, 16])
        self.assertIn("no matrix shape", report.why_ineligible(matrix, DEVICE))
        listed = {**DEVICE, "matrix_shapes": "16x16x16:f16*f16+f16 16x16x16:f16*f16+f32"}
        self.assertEqual(report.why_ineligible(matrix, listed), "")


def make_output(**changes):
    """pipestats' JSON of one kernel on RADV, as text."""
    statistics = {"VGPRs": 84, "Subgroups per SIMD": 10, "Spilled SGPRs": 0, "Spilled VGPRs": 0, "Scratch size": 0}
    statistics |= {"Inverse Throughput": 5, "Instructions": 9, **changes}
    representations = [{"name": "NIR", "text": "long"}, {"name": "Assembly", "text": "s_endpgm"}]
    executable = {"subgroup_size": 64, "representations": representations}
    executable["statistics"] = [{"name": name, "value": value} for name, value in statistics.items()]
    shader = {"local_size": [64, 1, 1], "shared_bytes": 0}
    return json.dumps({"device": DEVICE, "shader": shader, "executables": [executable]})


class FakeCompilers:
    """Answers at once; after `patience` pipelines it is stopped, as if by a signal."""

    def __init__(self, patience=99):
        self.patience = patience
        self.asked = []

    def run(self, gpu, arguments):
        if arguments:
            if len(self.asked) == self.patience:
                raise answers.Stopped("SIGTERM")
            self.asked.append(pathlib.Path(arguments[-1]).name)
        return answers.Answer(0, make_output(), "", 0.1)

    def stop(self):
        pass


class Kept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.warnings = []

    def keeper(self, **options):
        return answers.Keeper(self.folder / "answers", warn=self.warnings.append, **options)

    def stored(self):
        keeper = self.keeper()
        key = keeper.key(NAVI21, DEVICE, ["--push", 64], b"spirv")
        keeper.store(NAVI21, key, answers.Answer(0, make_output(), "said", 1.5))
        (path,) = self.folder.rglob("*.json.gz")
        return keeper, key, path

    def test_an_answer_comes_back_without_what_nobody_reads(self):
        keeper, key, _ = self.stored()
        answer = keeper.load(NAVI21, key)
        self.assertEqual((answer.returncode, answer.stderr, answer.seconds, answer.is_kept), (0, "said", 1.5, True))
        (executable,) = json.loads(answer.stdout)["executables"]
        self.assertEqual([r["name"] for r in executable["representations"]], ["Assembly"])
        self.assertIsNone(self.keeper(fresh=True).load(NAVI21, key))

    def test_the_key_holds_all_that_matters(self):
        keeper = self.keeper()
        newer = {**DEVICE, "driver_info": "Mesa 1.3"}
        keys = [
            keeper.key(NAVI21, DEVICE, ["--push", 64], b"spirv"),
            keeper.key(VEGA10, DEVICE, ["--push", 64], b"spirv"),
            keeper.key(NAVI21, newer, ["--push", 64], b"spirv"),
            keeper.key(NAVI21, DEVICE, ["--push", 60], b"spirv"),
            keeper.key(NAVI21, DEVICE, ["--push", 64], b"other"),
        ]
        self.assertEqual(len(set(keys)), len(keys))
        self.assertEqual(keys[0], self.keeper().key(NAVI21, dict(DEVICE), ["--push", "64"], b"spirv"))

    def test_crashes_and_what_is_unreadable_are_not_kept(self):
        keeper = self.keeper()
        for number, (status, text) in enumerate([(-6, ""), (3, ""), (0, "{"), (0, '{"executables": []}')]):
            keeper.store(NAVI21, str(number), answers.Answer(status, text, "", 1))
        self.assertEqual(list(self.folder.rglob("*.gz")), [])
        keeper.store(NAVI21, "refused", answers.Answer(4, "", "pipestats: too much", 1))
        self.assertEqual(keeper.load(NAVI21, "refused").stderr, "pipestats: too much")

    def test_corrupt_files_are_asked_again(self):
        keeper, key, path = self.stored()
        good = path.read_bytes()
        raw = json.loads(gzip.decompress(good))
        for bad in (
            b"",
            b"junk",
            good[: len(good) // 2],
            gzip.compress(b"[]"),
            gzip.compress(b"{}"),
            gzip.compress(b"{"),
            gzip.compress(json.dumps({**raw, "key": "another"}).encode()),
            gzip.compress(json.dumps({**raw, "stdout": "cut"}).encode()),
            gzip.compress(json.dumps({**raw, "returncode": -9}).encode()),
        ):
            path.write_bytes(bad)
            self.warnings.clear()
            self.assertIsNone(keeper.load(NAVI21, key), bad)
            self.assertEqual(len(self.warnings), 1)
            self.assertIn("asked again", self.warnings[0])
        keeper.store(NAVI21, key, answers.Answer(0, make_output(), "", 1))
        self.assertIsNotNone(keeper.load(NAVI21, key))

    def test_a_folder_that_cannot_be_written_costs_no_result(self):
        (self.folder / "answers").write_text("a file")
        self.keeper().store(NAVI21, "k", answers.Answer(0, make_output(), "", 1))
        self.assertIn("not kept", self.warnings[0])

    def test_a_stopped_run_goes_on_where_it_was(self):
        rows = []
        for number in range(5):
            path = self.folder / f"{number}.spv"
            path.write_bytes(b"spirv %d" % number)
            rows.append(make_row(name=f"merge-{number}", family="merge", spv=path, dtypes=1 << number))
        first, second = FakeCompilers(patience=2), FakeCompilers()
        with contextlib.redirect_stderr(io.StringIO()) as progress:
            with mock.patch.object(report, "PROCESSES", 1), self.assertRaises(answers.Stopped):
                report.measure_gpus(first, self.keeper(), [NAVI21], rows, False)
            _, results = report.measure_gpus(second, self.keeper(), [NAVI21], rows, False)
        self.assertEqual(first.asked, ["0.spv", "1.spv"])
        self.assertEqual(sorted(second.asked), ["2.spv", "3.spv", "4.spv"])
        self.assertEqual([(j.row["name"], j.status, j.is_kept) for j in results][:3:2],
                         [("merge-0", "ok", True), ("merge-2", "ok", False)])
        self.assertIn("merge-0: ok, kept", progress.getvalue())
        rows[3]["spv"].write_bytes(b"another kernel")
        third = FakeCompilers()
        with contextlib.redirect_stderr(io.StringIO()):
            report.measure_gpus(third, self.keeper(), [NAVI21], rows, False)
        self.assertEqual(third.asked, ["3.spv"])


class Processes(unittest.TestCase):
    def compilers(self, script, cpu_seconds=60):
        """Compilers whose run-on is this script."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        run_on = pathlib.Path(folder.name) / "run-on"
        run_on.write_text(f"#!/bin/bash\n{script}\n")
        run_on.chmod(0o755)
        patch = mock.patch.object(answers, "HERE", pathlib.Path(folder.name))
        patch.start()
        self.addCleanup(patch.stop)
        return answers.Compilers(pathlib.Path("/lab"), cpu_seconds)

    def test_output_and_status(self):
        answer = self.compilers('echo "$@"; echo words >&2; exit 4').run(NAVI21, ["--push", 64])
        self.assertEqual(answer.stdout, "radv:navi21 /lab/bin/pipestats --json --push 64\n")
        self.assertEqual((answer.returncode, answer.stderr), (4, "words\n"))

    def test_processor_time_is_limited(self):
        with self.assertRaisesRegex(answers.TimedOut, "1 s of processor time"):
            self.compilers("while :; do :; done", cpu_seconds=1).run(NAVI21, [])

    def test_waiting_is_limited_too(self):
        with mock.patch.object(answers, "WALL_PATIENCE", 0.2), self.assertRaisesRegex(answers.TimedOut, "in 0.2 s"):
            self.compilers("exec sleep 60", cpu_seconds=1).run(NAVI21, [])

    def test_stop_ends_what_runs_and_starts_no_more(self):
        compilers, started = self.compilers("exec sleep 60"), time.monotonic()
        threading.Timer(0.3, compilers.stop).start()
        for _ in range(2):
            with self.assertRaises(answers.Stopped):
                compilers.run(NAVI21, [])
        self.assertLess(time.monotonic() - started, 30)

    def test_signals_stop_and_say_which(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            before, compilers = signal.getsignal(number), mock.Mock()
            signal.signal(number, signal.SIG_DFL)  # nohup, or a shell's background, may have it ignored
            try:
                with self.assertRaisesRegex(answers.Stopped, number.name), report.stoppable(compilers):
                    os.kill(os.getpid(), number)
                    time.sleep(5)
                self.assertEqual(signal.getsignal(number), signal.SIG_DFL)
            finally:
                signal.signal(number, before)
            compilers.stop.assert_called_once()


class Baseline(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "baseline.json"

    def saved(self, *results):
        for judged in results:
            judged.is_default = True
        baseline.save(self.path, {judged.gpu: DEVICE for judged in results}, results)
        return baseline.load(self.path)

    def words(self, gpus_of_baseline, judged, slack=5, device=DEVICE):
        judged.is_default = True
        done = baseline.compare(gpus_of_baseline, {judged.gpu: device}, [judged], slack)
        return [word for words in done.regressions.values() for word in words], done

    def test_what_is_saved_compares_equal(self):
        other = make_judged(row=make_row(name="other"))
        saved = self.saved(make_judged(cycles=100, instructions=50), make_judged(VEGA10))
        self.assertEqual(saved["radv:navi21"]["rows"], {"tile-f16": [96, 8, 0, 0, 100, 50]})
        words, done = self.words(saved, make_judged(cycles=100, instructions=50))
        self.assertEqual((words, done.compared, done.better, done.new), ([], 1, 0, []))
        self.assertEqual(self.words(saved, other)[1].new, ["radv:navi21 other"])

    def test_rows_that_are_no_default_or_did_not_compile_are_not_saved(self):
        crashed = report.Judged(NAVI21, make_row(name="bad"), "crashed", "why", is_default=True)
        spare = make_judged(row=make_row(name="spare"))
        good = make_judged()
        good.is_default = True
        baseline.save(self.path, {NAVI21: DEVICE, DG2: "no answer"}, [crashed, spare, good])
        self.assertEqual(list(baseline.load(self.path)["radv:navi21"]["rows"]), ["tile-f16"])

    def test_saving_some_gpus_keeps_the_others(self):
        before = self.saved(make_judged(cycles=100), make_judged(VEGA10))
        after = self.saved(make_judged(cycles=90))
        self.assertEqual(after["radv:vega10"], before["radv:vega10"])
        self.assertEqual(after["radv:navi21"]["rows"]["tile-f16"][4], 90)
        baseline.save(self.path, {VEGA10: "no answer"}, [])
        self.assertEqual(baseline.load(self.path), after)

    def test_regressions(self):
        saved = self.saved(make_judged(cycles=100, instructions=50))
        for changes, expected in [
            ({"cycles": 104}, []),
            ({"cycles": 106}, ["cycles 106, was 100 (+6.0 %)"]),
            ({"instructions": 60}, ["instructions 60, was 50 (+20.0 %)"]),
            ({"spills": 1}, ["spills 1, was 0"]),
            ({"scratch": 16}, ["scratch 16, was 0"]),
            ({"occupancy": 7}, ["occupancy 7, was 8 (-12.5 %)"]),
            ({"registers": 200}, []),  # at the same occupancy
            ({"cycles": None}, ["cycles unknown, was 100"]),
        ]:
            judged = make_judged(**{"cycles": 100, "instructions": 50, **changes})
            self.assertEqual(self.words(saved, judged)[0], expected)
        self.assertEqual(self.words(saved, make_judged(cycles=106, instructions=50), slack=10)[0], [])
        self.assertEqual(self.words(saved, make_judged(cycles=50, instructions=50))[1].better, 1)
        crashed = report.Judged(NAVI21, make_row(), "crashed", "SIGSEGV: x")
        self.assertEqual(self.words(saved, crashed)[0], ["crashed: SIGSEGV: x; the baseline has figures"])

    def test_registers_count_where_no_occupancy_is_known(self):
        saved = self.saved(make_judged(DG2, occupancy=None))
        words, _ = self.words(saved, make_judged(DG2, occupancy=None, registers=120))
        self.assertEqual(words, ["registers 120, was 96 (+25.0 %)"])

    def test_other_drivers_are_not_compared_and_said(self):
        saved = self.saved(make_judged(cycles=100))
        words, done = self.words(saved, make_judged(cycles=900), device={**DEVICE, "driver_info": "Mesa 1.3"})
        self.assertEqual((words, done.compared), ([], 0))
        self.assertEqual(done.other_drivers, ["radv:navi21: Mesa 1.3, the baseline has Mesa 1.2"])
        self.assertEqual(self.words(saved, make_judged(DG2))[1].other_drivers, ["anv:dg2: not in the baseline"])

    def test_corrupt_baselines(self):
        for text, words in [
            ("", "Expecting value"),
            ("[]", "no object"),
            ("{}", "no object"),
            ('{"hk": []}', "hk: no driver"),
            ('{"hk": {"driver": "x"}}', "hk: no rows"),
            ('{"hk": {"driver": "x", "rows": {"a": [1]}}}', "hk a: not a list of 6 figures"),
            ('{"hk": {"driver": "x", "rows": {"a": [1, 2, 3, 4, 5, "6"]}}}', "hk a: a figure is no number"),
        ]:
            self.path.write_text(text)
            with self.assertRaisesRegex(baseline.BaselineError, words):
                baseline.load(self.path)
        self.path.unlink()
        with self.assertRaisesRegex(baseline.BaselineError, "No such file"):
            baseline.load(self.path)


class Program(unittest.TestCase):
    """main(), but for the compilers."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "pipestats").touch()
        (self.folder / "tile.spv").touch()
        (self.folder / "rows.json").write_text(json.dumps([make_row()]))

    def run_main(self, *options, judged=None, stopped=False):
        """Exit status and stderr."""

        def measure_gpus(*_):
            if stopped:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            report.judge(judged)
            return {NAVI21: DEVICE}, [judged]

        words = ["report.py", self.folder / "rows.json", "--gpu", "radv:navi21", *options]
        with (
            mock.patch.object(report, "measure_gpus", measure_gpus),
            mock.patch("sys.argv", list(map(str, words))),
            mock.patch.dict(os.environ, RAPT_LAB=str(self.folder)),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as stderr,
        ):
            return report.main(), stderr.getvalue()

    def test_json(self):
        path = self.folder / "out.json"
        self.assertEqual(self.run_main("--json", path, judged=make_judged(cycles=7, instructions=8))[0], 0)
        (entry,) = json.loads(path.read_text())
        expected = {"row": "tile-f16", "family": "tile", "dtype": "f16", "gpu": "radv:navi21", "vendor": "AMD"}
        expected |= {"registers": 96, "occupancy": 8, "spills": 0, "scratch_bytes": 0, "cycles": 7}
        expected |= {"instructions": 8, "status": "ok", "message": "", "default": True, "driver": "Mesa 1.2"}
        self.assertEqual({key: entry[key] for key in expected}, expected)
        crashed = report.Judged(NAVI21, make_row(), "crashed", "SIGSEGV: x")
        status, words = self.run_main("--json", path, judged=crashed)
        self.assertEqual(status, 1)
        self.assertIn("radv:navi21 tile-f16 fails: crashed: SIGSEGV: x", words)
        (entry,) = json.loads(path.read_text())
        self.assertEqual((entry["status"], entry["cycles"], entry["scratch_bytes"]), ("crashed", None, None))
        self.assertIn("SIGSEGV: x", entry["message"])

    def test_a_regression_is_a_failure(self):
        path, out = self.folder / "baseline.json", self.folder / "out.json"
        self.assertEqual(self.run_main("--save-baseline", path, judged=make_judged(cycles=100))[0], 0)
        status, words = self.run_main("--against", path, judged=make_judged(cycles=104))
        self.assertEqual(status, 0)
        self.assertIn("1 rows compared with the baseline, 0 worse", words)
        status, words = self.run_main("--against", path, "--json", out, judged=make_judged(cycles=110))
        self.assertEqual(status, 1)
        self.assertIn("radv:navi21 tile-f16: cycles 110, was 100 (+10.0 %)", words)
        self.assertEqual(json.loads(out.read_text())[0]["regressions"], ["cycles 110, was 100 (+10.0 %)"])
        status, _ = self.run_main("--against", path, "--slack", 15, judged=make_judged(cycles=110))
        self.assertEqual(status, 0)

    def test_a_stopped_run_writes_nothing_and_says_so(self):
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        status, words = self.run_main("--markdown", self.folder / "out.md", stopped=True)
        self.assertEqual(status, 128 + signal.SIGTERM)
        self.assertIn("stopped by SIGTERM", words)
        self.assertFalse((self.folder / "out.md").exists())

    def test_bad_arguments_are_one_line(self):
        (self.folder / "bad.json").write_text("{")
        for options, words in [
            (["--against", self.folder / "bad.json"], "bad.json: Expecting"),
            (["--against", self.folder / "none.json"], "none.json: No such file"),
            (["--timeout", 0], "--timeout is 1 or more"),
            (["--cache", self.folder / "rows.json"], "for the compilers' answers: File exists"),
            (["--slack", 100], "--slack from 0"),
            (["--rows", "tile", "--save-baseline", "x"], "for all rows"),
            (["--save-baseline", self.folder / "bad.json"], "bad.json: Expecting"),
            (["--rows", "("], "--rows '('"),
            (["--rows", "none"], "no row matches 'none'"),
            (["--gpu", "radv:sun"], "no GPU radv:sun; there are"),
            (["--json", self.folder / "none" / "x.json"], "none/x.json: No such file"),
        ]:
            status, stderr = self.run_main(*options, judged=make_judged())
            self.assertEqual(status, 2, options)
            self.assertIn(words, stderr)
            self.assertEqual(stderr.count("\n"), 1, stderr)


if __name__ == "__main__":
    unittest.main()
