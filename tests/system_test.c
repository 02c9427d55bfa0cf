/* The table of published systems and its recipes, without a device. */
#include "support.h"

#include "check/cases.h"
#include "check/systems.h"
#include <rapt/rapt.h>

static rapt_system_recipe recipe; /* too large for a small stack */

static rapt_system_info describe(uint32_t index)
{
    rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
    rapt_error error = {0};
    if (rapt_system_describe(index, &info, &error) != RAPT_OK)
        fail_msg("system %u: %s", index, error.message);
    return info;
}

static uint32_t find(const char *name)
{
    uint32_t index = ~0u;
    rapt_error error = {0};
    if (rapt_system_find(name, &index, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    return index;
}

static void one_line(const char *system, const char *what, const char *text, bool needed)
{
    if (!text || (needed && !text[0]) || strchr(text, '\n'))
        fail_msg("%s: %s is '%s'", system, what, text ? text : "NULL");
}

static void every_row_is_well_formed(void **state)
{
    unsigned tiers[3] = {0}, works = 0;
    (void)state;
    assert_true(rapt_system_count() >= 227);
    for (uint32_t n = 0; n < rapt_system_count(); n++) {
        const rapt_system_info i = describe(n);
        one_line("a system", "the name", i.name, true);
        if (strlen(i.tier) != 1 || !strchr("ABC", i.tier[0]))
            fail_msg("%s: tier '%s'", i.name, i.tier);
        tiers[i.tier[0] - 'A']++;
        works += i.works;
        assert_true(i.works <= 1);
        one_line(i.name, "the reason", i.reason, true);
        one_line(i.name, "the family", i.family, true);
        one_line(i.name, "the paper", i.paper, true);
        one_line(i.name, "the formula", i.formula, true);
        one_line(i.name, "engines", i.engines, true);
        one_line(i.name, "reduces", i.reduces, i.works);
        one_line(i.name, "the doubt", i.doubt, false);
        const struct {
            const rapt_system_field *fields;
            uint32_t count;
        } lists[] = {
            {i.inputs, i.input_count}, {i.parameters, i.parameter_count}, {i.outputs, i.output_count}};
        for (int list = 0; list < 3; list++)
            for (uint32_t f = 0; f < lists[list].count; f++) {
                one_line(i.name, "a name", lists[list].fields[f].name, true);
                one_line(i.name, "a shape", lists[list].fields[f].shape, list != 1);
                one_line(i.name, "a meaning", lists[list].fields[f].about, list == 1);
            }
        assert_int_equal(find(i.name), n); /* and so no two have one name */
        if (i.works != (uint32_t)rapt_check_system_has_oracle(i.name))
            fail_msg("%s: %s", i.name, i.works ? "works without an oracle" : "planned, with an oracle");
        if (i.works && (i.check_count == 0 || i.input_count == 0 || i.output_count == 0))
            fail_msg("%s: works without checks, inputs or outputs", i.name);
    }
    assert_true(tiers[0] > 0 && tiers[1] > 0 && tiers[2] > 0 && works > 0);
}

static void names_are_found_and_near_ones_told(void **state)
{
    static const char *const same[][2] = {
        {"flash attention", "FlashAttention"},
        {"FLASH-ATTENTION-2", "FlashAttention-2"},
        {"rabe-staats", "Memory-efficient attention (Rabe & Staats)"},
        {"Memory efficient attention", "Memory-efficient attention (Rabe & Staats)"},
        {"gqa", "GQA (grouped-query attention)"},
        {"KDA + MLA", "Kimi Linear (KDA + MLA)"},
        {"NATTEN", "Faster Neighborhood Attention (FNA / NATTEN)"},
        {"Gemma 2", "Gemma 2 (logit soft cap)"},
        {"duo", "DuoAttention"},
        {"block-attention", "Block-Attention for RAG"},
    };
    static const char *const wrong[][2] = {
        {"MoA", "MoA (Mixture of Attention Heads)"}, /* of several */
        {"HAT", "HAT (CVPR)"},
        {"flash", "FlashAttention; FlashAttention-2"},
        {"flash atention", "near: FlashAttention"},
        {"streeming llm", "near: StreamingLLM"},
        {"", "neither letter nor digit"},
        {"--", "neither letter nor digit"},
    };
    (void)state;
    for (size_t n = 0; n < sizeof same / sizeof *same; n++)
        assert_string_equal(describe(find(same[n][0])).name, same[n][1]);
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        uint32_t index;
        rapt_error error = {0};
        assert_int_equal(rapt_system_find(wrong[n][0], &index, &error), RAPT_ERROR_INVALID);
        if (!strstr(error.message, wrong[n][1]))
            fail_msg("'%s': %s", wrong[n][0], error.message);
    }
    char longest[3000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    uint32_t index;
    rapt_error error = {0};
    assert_int_equal(rapt_system_find(longest, &index, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_system_find(NULL, &index, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_system_find("MoBA", NULL, NULL), RAPT_ERROR_INVALID);
    rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
    assert_int_equal(rapt_system_describe(rapt_system_count(), &info, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_system_describe(0, NULL, &error), RAPT_ERROR_INVALID);
}

/* A recipe for a check, as text "input=shape .. | parameter=value .."; f32. */
static rapt_status make(uint32_t index, const char *check, bool lse, rapt_error *error)
{
    static rapt_check_system s;
    const rapt_system_info info = describe(index);
    if (!rapt_check_system_make(&info, check, RAPT_F32, 1, &s))
        fail_msg("%s: the check '%s' is not of the form", info.name, check);
    rapt_system_input inputs[RAPT_CHECK_FIELDS];
    for (uint32_t n = 0; n < s.input_count; n++) {
        const rapt_check_array *a = &s.inputs[n];
        inputs[n] = (rapt_system_input){a->name, {.dtype = a->bounds ? RAPT_I32 : RAPT_F32, .rank = a->rank}};
        int64_t stride = 1;
        for (uint32_t axis = a->rank; axis-- > 0; stride *= (int64_t)a->shape[axis]) {
            inputs[n].tensor.size[axis] = a->shape[axis];
            inputs[n].tensor.stride[axis] = stride;
        }
    }
    static const char *const wanted[] = {"lse"};
    rapt_system_request request = RAPT_SYSTEM_REQUEST_INIT;
    request.inputs = inputs;
    request.input_count = s.input_count;
    request.settings = s.settings;
    request.setting_count = s.setting_count;
    request.outputs = wanted;
    request.output_count = lse;
    const rapt_status status = rapt_system_recipe_make(index, &request, &recipe, error);
    rapt_check_system_free(&s);
    return status;
}

static void inside(const char *system, const rapt_system_operand *at, const rapt_tensor *t, bool needed)
{
    if (at->tensor < 0) {
        if (needed)
            fail_msg("%s: an operand is missing", system);
        return;
    }
    assert_true(at->tensor < (int32_t)recipe.tensor_count);
    const rapt_tensor *whole = &recipe.tensors[at->tensor].tensor;
    const uint64_t align = t->align ? t->align : 16;
    if (at->offset + rapt_tensor_bytes(t) > rapt_tensor_bytes(whole) || at->offset % align != 0)
        fail_msg("%s: %llu bytes from %llu on, of %llu, align %llu", system,
                 (unsigned long long)rapt_tensor_bytes(t), (unsigned long long)at->offset,
                 (unsigned long long)rapt_tensor_bytes(whole), (unsigned long long)align);
}

/* What a step's operator needs lies within the recipe's tensors. */
static void step_inside(const char *system, const rapt_system_step *s)
{
    if (s->op == RAPT_SYSTEM_SCAN) {
        const rapt_scan_desc *d = &s->scan;
        const struct {
            const rapt_system_operand *at;
            const rapt_tensor *t;
        } all[] = {{&s->x, &d->x},           {&s->out, &d->out},   {&s->a, &d->a},
                   {&s->scores, &d->scores}, {&s->b, &d->b},       {&s->c, &d->c},
                   {&s->dt, &d->dt},         {&s->skip, &d->skip}, {&s->z, &d->z},
                   {&s->weight, &d->weight}, {&s->bias, &d->bias}, {&s->state_in, &d->state_in},
                   {&s->state_out, &d->state_out}};
        for (size_t n = 0; n < sizeof all / sizeof *all; n++)
            inside(system, all[n].at, all[n].t, all[n].t->dtype != RAPT_DTYPE_NONE);
        return;
    }
    if (s->op == RAPT_SYSTEM_MEMORY) {
        const rapt_memory_desc *d = &s->memory;
        inside(system, &s->q, &d->q, true);
        inside(system, &s->k, &d->k, true);
        inside(system, &s->v, &d->v, true);
        inside(system, &s->out, &d->out, true);
        inside(system, &s->rates, &d->rates, d->rates.dtype != RAPT_DTYPE_NONE);
        inside(system, &s->state_in, &d->state_in, d->state_in.dtype != RAPT_DTYPE_NONE);
        inside(system, &s->state_out, &d->state_out, d->state_out.dtype != RAPT_DTYPE_NONE);
        return;
    }
    if (s->op == RAPT_SYSTEM_ROWS) {
        inside(system, &s->x, &s->rows.x, true);
        inside(system, &s->list, &s->rows.list, true);
        inside(system, &s->weight, &s->rows.weight, false);
        inside(system, &s->out, &s->rows.out, true);
        return;
    }
    if (s->op == RAPT_SYSTEM_COMBINE) {
        for (unsigned t = 0; t < RAPT_COMBINE_TERMS; t++) {
            inside(system, &s->term[t], &s->combine.x[t], t == 0);
            inside(system, &s->term_weight[t], &s->combine.weight[t], s->combine.weight[t].dtype != RAPT_DTYPE_NONE);
        }
        inside(system, &s->norm_weight, &s->combine.norm_weight, s->combine.norm_weight.dtype != RAPT_DTYPE_NONE);
        inside(system, &s->gate, &s->combine.gate, s->combine.gate.dtype != RAPT_DTYPE_NONE);
        inside(system, &s->lse, &s->combine.lse, s->combine.lse.dtype != RAPT_DTYPE_NONE);
        inside(system, &s->out, &s->combine.out, true);
        return;
    }
    const bool routes = s->op == RAPT_SYSTEM_ROUTE, linear = s->op == RAPT_SYSTEM_LINEAR;
    if (routes) {
        inside(system, &s->q, &s->route.q, false);
        inside(system, &s->k, &s->route.k, false);
        inside(system, &s->summary, &s->route.summary, false);
        inside(system, &s->scores, &s->route.scores, false);
        inside(system, &s->mask, &s->route.mask, false);
        inside(system, &s->within, &s->route.within, false);
        inside(system, &s->list, &s->route.list, false);
        return;
    }
    inside(system, &s->q, linear ? &s->linear.q : &s->attention.q, true);
    inside(system, &s->k, linear ? &s->linear.k : &s->attention.k, true);
    inside(system, &s->v, linear ? &s->linear.v : &s->attention.v, true);
    inside(system, &s->out, linear ? &s->linear.out : &s->attention.out, true);
    inside(system, &s->lse, &s->attention.lse, !linear && s->attention.lse.dtype != RAPT_DTYPE_NONE);
    inside(system, &s->key_bias, &s->attention.key_bias, false);
    inside(system, &s->block_mask, &s->attention.block_mask, false);
}

static void what_works_has_recipes_within_its_tensors(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < rapt_system_count(); n++) {
        const rapt_system_info info = describe(n);
        rapt_error error = {0};
        if (!info.works) {
            rapt_system_request none = RAPT_SYSTEM_REQUEST_INIT;
            assert_int_equal(rapt_system_recipe_make(n, &none, &recipe, &error), RAPT_ERROR_UNSUPPORTED);
            assert_non_null(strstr(error.message, "is planned"));
            continue;
        }
        bool has_lse = false;
        for (uint32_t o = 0; o < info.output_count; o++)
            has_lse |= strcmp(info.outputs[o].name, "lse") == 0;
        for (uint32_t c = 0; c < info.check_count; c++) {
            if (make(n, info.checks[c], has_lse, &error) != RAPT_OK)
                fail_msg("%s", error.message);
            assert_true(recipe.step_count > 0 && recipe.tensor_count > 1);
            bool found = !has_lse;
            for (uint32_t t = 0; t < recipe.tensor_count; t++)
                found |= strcmp(recipe.tensors[t].name, "lse") == 0 && recipe.tensors[t].role == RAPT_SYSTEM_OUT;
            assert_true(found);
            for (uint32_t s = 0; s < recipe.step_count; s++) {
                const rapt_system_step *step = &recipe.steps[s];
                step_inside(info.name, step);
                assert_int_equal(step->cu_seqlens_q.tensor >= 0, step->op == RAPT_SYSTEM_ATTENTION && step->attention.sequences > 0);
            }
        }
    }
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *system, *check, *part;
    } wrong[] = {
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8", "input 'v' is missing"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 w=1,1,4,8", "no input is named 'w'; there are: q, k, v"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4", "'v' has 3 axes; 4 are needed"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,9 v=1,1,4,8", "head dims of q and k disagree"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | causl=1",
         "no parameter is named 'causl'; there are: causal, scale"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | causal=2", "a whole number from 0 to 1"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | causal=", "parameter 'causal' is missing"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | causal=1 causal=1", "'causal' is given twice"},
        {"FlashAttention", "q=1,1,4,8 q=1,1,4,8 v=1,1,4,8", "'q' is given twice"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | scale=inf", "a number within single precision"},
        {"FlashAttention", "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | scale=1x", "a number within single precision"},
        {"MQA", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8", "k has 2 heads; one is shared"},
        {"GQA", "q=1,3,4,8 k=1,2,4,8 v=1,2,4,8", "no multiple of 2 kv heads"},
        {"Gemma 2", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8 | soft_cap=-1", "none or a positive number"},
        {"Mistral 7B sliding window", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8 | window=0", "from 1 to 536870912"},
        {"DuoAttention", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8", "parameter 'retrieval' is missing"},
        {"DuoAttention", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8 | retrieval=1,0", "a rising comma list"},
        {"DuoAttention", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8 | retrieval=2", "from 0 to 1"},
        {"DuoAttention", "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8 | retrieval=0,", "a rising comma list"},
        {"Block-Attention for RAG", "q=1,1,9,8 k=1,1,9,8 v=1,1,9,8 cu_seqlens=0,4 | last=10", "from 0 to 9"},
        {"Block-Attention for RAG", "q=1,1,9,8 k=1,1,9,8 v=1,1,9,8 cu_seqlens=0 | last=4", "has one entry"},
        {"Block-Attention for RAG", "q=1,1,9,8 k=1,1,9,8 v=1,1,9,8 | last=4",
         "input 'cu_seqlens' is missing"},
        {"EE-MLLM composite attention", "q=1,1,9,8 k=1,1,8,8 v=1,1,8,8", "9 queries, but 8 keys"},
        {"FLARE", "latents=2,3,8 k=1,1,9,8 v=1,1,9,8", "shapes disagree"},
        {"Minimal transformer", "q=1,1,9,8 x=1,9,7", "batch and width must be the same"},
        {"Layerwise attention shortcuts", "q=7,2,8 k=5,6,2,8 v=5,6,2,8", "shapes disagree"},
        {"ByteTransformer", "q=2,1,9,8 k=2,1,9,8 v=2,1,9,8 cu_seqlens=0,9", "batch 1"},
    };
    (void)state;
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        rapt_error error = {0};
        const uint32_t index = find(wrong[n].system);
        const char *name = describe(index).name;
        const rapt_status status = make(index, wrong[n].check, false, &error);
        if (status != RAPT_ERROR_INVALID || !strstr(error.message, wrong[n].part) ||
            strncmp(error.message, name, strlen(name)) != 0)
            fail_msg("%s, '%s': %s: %s", wrong[n].system, wrong[n].check, rapt_status_name(status),
                     error.message);
    }
    for (int n = 0; n < 3; n++) { /* and what is right is read as C does */
        static const char *const texts[] = {"-2.5", "1e-3", "+.0625E2"};
        static const float values[] = {-2.5f, 1e-3f, 6.25f};
        char check[100];
        rapt_error error = {0};
        snprintf(check, sizeof check, "q=1,1,4,8 k=1,1,4,8 v=1,1,4,8 | scale=%s", texts[n]);
        assert_int_equal(make(find("FlashAttention"), check, false, &error), RAPT_OK);
        assert_true(recipe.steps[0].attention.scale == values[n]);
    }
    rapt_error error = {0};
    assert_int_equal(make(find("FLARE"), "latents=2,3,8 k=1,2,9,8 v=1,2,9,8", true, &error),
                     RAPT_ERROR_INVALID);
    assert_non_null(strstr(error.message, "no output is named 'lse'; there are: out"));
    assert_int_equal(make(find("DuoAttention"), "q=1,2,4,8 k=1,2,4,8 v=1,2,4,8", false, NULL),
                     RAPT_ERROR_INVALID);
    assert_int_equal(rapt_system_recipe_make(0, NULL, &recipe, &error), RAPT_ERROR_INVALID);
}

static rapt_status plan_step(const rapt_caps *caps, const rapt_system_step *s, rapt_plan **plan, rapt_error *error)
{
    return s->op == RAPT_SYSTEM_SCAN     ? rapt_scan_plan_for_caps(caps, &s->scan, plan, error)
           : s->op == RAPT_SYSTEM_COMBINE ? rapt_combine_plan_for_caps(caps, &s->combine, plan, error)
           : s->op == RAPT_SYSTEM_MEMORY ? rapt_memory_plan_for_caps(caps, &s->memory, plan, error)
           : s->op == RAPT_SYSTEM_ROUTE  ? rapt_route_plan_for_caps(caps, &s->route, plan, error)
           : s->op == RAPT_SYSTEM_ROWS   ? rapt_rows_plan_for_caps(caps, &s->rows, plan, error)
           : s->op == RAPT_SYSTEM_LINEAR ? rapt_linear_plan_for_caps(caps, &s->linear, plan, error)
                                         : rapt_attention_plan_for_caps(caps, &s->attention, plan, error);
}

static rapt_dtype input_dtype(const rapt_system_field *f)
{
    return strncmp(f->name, "cu_", 3) == 0 || strncmp(f->about, "int32", 5) == 0 ? RAPT_I32
           : strncmp(f->about, "float32", 7) == 0                              ? RAPT_F32
                                                                               : RAPT_F16;
}

/* Any sizes, empty and huge ones too, and any settings: a recipe within its tensors that a plan can be asked
 * for, or an error. */
static void any_request_ends_well(void **state)
{
    static const uint64_t sizes[] = {0, 1, 1, 2, 2, 2, 3, 4, 7, 16, 1ull << 40, 1ull << 62};
    static const char *const values[] = {"0",
                                         "1",
                                         "2",
                                         "7",
                                         "16",
                                         "0,1",
                                         "none",
                                         "1/sqrt(d)",
                                         "-1",
                                         "",
                                         "1e9",
                                         "nan",
                                         "99999999999999999999",
                                         "536870912",
                                         "0.5",
                                         ",",
                                         "1,,2",
                                         "e"};
    rapt_random random = {11};
    rapt_caps floor_caps;
    unsigned made = 0, planned = 0;
    (void)state;
    rapt_caps_floor(&floor_caps);
    for (unsigned round = 0; round < 60000; round++) {
        rapt_system_info info = describe((uint32_t)rapt_random_below(&random, rapt_system_count()));
        if (!info.works)
            continue;
        rapt_system_input inputs[RAPT_CHECK_FIELDS];
        rapt_system_setting settings[RAPT_CHECK_FIELDS];
        uint64_t usual[4];
        for (int n = 0; n < 4; n++)
            usual[n] = sizes[rapt_random_below(&random, 10)];
        assert_true(info.input_count <= RAPT_CHECK_FIELDS && info.parameter_count <= RAPT_CHECK_FIELDS);
        for (uint32_t n = 0; n < info.input_count; n++) {
            uint32_t rank = 1;
            for (const char *at = info.inputs[n].shape; *at; at++)
                rank += *at == ',';
            inputs[n] = (rapt_system_input){info.inputs[n].name,
                                            {.dtype = input_dtype(&info.inputs[n]), .rank = rank}};
            uint64_t stride = 1;
            for (uint32_t axis = rank; axis-- > 0;) {
                const bool odd = rapt_random_below(&random, 12) == 0;
                const uint64_t size = odd ? sizes[rapt_random_below(&random, 12)] : usual[axis + 4 - rank];
                inputs[n].tensor.size[axis] = size;
                inputs[n].tensor.stride[axis] = (int64_t)stride;
                stride =
                    size > 1 ? (stride * size) & INT64_MAX : stride; /* huge ones wrap: any stride may come */
            }
        }
        uint32_t count = 0;
        for (uint32_t n = 0; n < info.parameter_count; n++)
            if (rapt_random_below(&random, 2) || !info.parameters[n].shape[0])
                settings[count++] =
                    (rapt_system_setting){info.parameters[n].name,
                                          values[rapt_random_below(&random, sizeof values / sizeof *values)]};
        rapt_system_request request = RAPT_SYSTEM_REQUEST_INIT;
        request.inputs = inputs;
        request.input_count = info.input_count;
        request.settings = settings;
        request.setting_count = count;
        rapt_error error = {0};
        uint32_t index = find(info.name);
        const rapt_status status = rapt_system_recipe_make(index, &request, &recipe, &error);
        if (status != RAPT_OK) {
            assert_true(error.status == status && error.message[0]);
            continue;
        }
        made++;
        for (uint32_t s = 0; s < recipe.step_count; s++) {
            const rapt_system_step *step = &recipe.steps[s];
            rapt_plan *plan = NULL;
            step_inside(info.name, step);
            if (round % 8 == 0) { /* plans take longer */
                planned += plan_step(&floor_caps, step, &plan, &error) == RAPT_OK;
                rapt_plan_destroy(&plan);
            }
        }
    }
    assert_true(made > 500 && planned > 50);
}

/* 128 kv heads of two kinds in turn are more runs than there is room for. */
static void too_many_steps_are_refused(void **state)
{
    char check[600];
    int at = snprintf(check, sizeof check, "q=1,128,4,8 k=1,128,4,8 v=1,128,4,8 | retrieval=");
    (void)state;
    rapt_error error = {0};
    for (int head = 0; head < 60; head++) /* 120 runs, in a line that the check has room for */
        at += snprintf(check + at, sizeof check - (size_t)at, "%s%d", head ? "," : "", 2 * head);
    assert_int_equal(make(find("DuoAttention"), check, false, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "more than 96 steps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_well_formed),
        cmocka_unit_test(names_are_found_and_near_ones_told),
        cmocka_unit_test(what_works_has_recipes_within_its_tensors),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(any_request_ends_well),
        cmocka_unit_test(too_many_steps_are_refused),
    };
    return cmocka_run_group_tests_name("system", tests, NULL, NULL);
}
