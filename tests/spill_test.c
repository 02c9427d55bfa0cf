/* Keys and values in host memory, brought back by index: the scheme of rapt/rows.h, two layers as one graph, against attention of the
 * same blocks by their mask, with all keys on the device. */
#include "rig.h"

#include <math.h>
#include <rapt/graph.h>
#include <rapt/route.h>
#include <rapt/rows.h>

enum { LAYERS = 2, HEADS = 4, KV_HEADS = 2, KEYS = 96, DIM = 64, BLOCK = 8, BLOCKS = KEYS / BLOCK, TOP = 5 };

static rig the_rig;

typedef struct layer {
    rapt_buffer *k, *v;       /* (1, KV_HEADS, KEYS, DIM), in the host's memory */
    rapt_buffer *summary;     /* on the device */
    rapt_buffer *q, *out, *list, *mask, *pool_k, *pool_v;
    rapt_binding *summarise, *route, *gather_k, *gather_v, *attend;
    float *keys, *values, *queries; /* as they should be */
} layer;

/* The plans that both layers share. */
typedef struct plans {
    rapt_plan *summarise, *route, *gather, *attend;
} plans;

static rapt_buffer *on_device(uint64_t bytes)
{
    rapt_buffer *b = NULL;
    RIG_OK(rapt_buffer_create(the_rig.device, bytes, &b, error));
    return b;
}

static rapt_buffer *on_host(const void *data, uint64_t bytes)
{
    rapt_buffer *b = NULL;
    RIG_OK(rapt_buffer_create_host(the_rig.device, bytes, &b, error));
    assert_non_null(rapt_buffer_map(b));
    memcpy(rapt_buffer_map(b), data, bytes);
    return b;
}

static void make_plans(plans *p)
{
    rapt_device *device = the_rig.device;
    rapt_route_desc r = RAPT_ROUTE_DESC_INIT;
    r.k = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, KEYS, DIM);
    r.summary = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, BLOCKS, DIM);
    r.block_q = 1;
    r.block_k = BLOCK;
    r.nq = 1;
    r.nk = KEYS;
    r.top_k = TOP;
    RIG_OK(rapt_route_plan(device, &r, &p->summarise, error));
    r.first_block = BLOCKS; /* all are there */
    r.k = (rapt_tensor){0};
    r.q = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, 1, DIM);
    r.heads = RAPT_ROUTE_GROUP_SUM;
    r.list = rapt_tensor_bhnd(RAPT_I32, 1, KV_HEADS, 1, TOP);
    r.mask = rapt_tensor_bhnd(RAPT_I32, 1, HEADS, 1, BLOCKS);
    RIG_OK(rapt_route_plan(device, &r, &p->route, error));
    rapt_rows_desc g = RAPT_ROWS_DESC_INIT;
    g.kind = RAPT_ROWS_GATHER;
    g.x = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, BLOCKS, BLOCK * DIM); /* a block is a row */
    g.list = (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, KV_HEADS, TOP}, .stride = {KV_HEADS * TOP, TOP, 1}};
    g.out = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, TOP, BLOCK * DIM);
    RIG_OK(rapt_rows_plan(device, &g, &p->gather, error));
    rapt_attention_desc a = RAPT_ATTENTION_DESC_INIT;
    a.q = a.out = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, 1, DIM);
    a.k = a.v = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, TOP * BLOCK, DIM);
    RIG_OK(rapt_attention_plan(device, &a, &p->attend, error));
    rapt_plan *const all[] = {p->summarise, p->route, p->gather, p->attend};
    for (size_t i = 0; i < 4; i++)
        RIG_OK(rapt_plan_prepare(all[i], error));
}

static void bind_layer(layer *l, const plans *p)
{
    rapt_route_args r = RAPT_ROUTE_ARGS_INIT;
    r.k.buffer = l->k;
    r.summary.buffer = l->summary;
    RIG_OK(rapt_route_bind(p->summarise, &r, &l->summarise, error));
    r.k.buffer = NULL;
    r.q.buffer = l->q;
    r.list.buffer = l->list;
    r.mask.buffer = l->mask;
    RIG_OK(rapt_route_bind(p->route, &r, &l->route, error));
    rapt_rows_args g = RAPT_ROWS_ARGS_INIT;
    g.list.buffer = l->list;
    g.x.buffer = l->k;
    g.out.buffer = l->pool_k;
    RIG_OK(rapt_rows_bind(p->gather, &g, &l->gather_k, error));
    g.x.buffer = l->v;
    g.out.buffer = l->pool_v;
    RIG_OK(rapt_rows_bind(p->gather, &g, &l->gather_v, error));
    rapt_attention_args a = RAPT_ATTENTION_ARGS_INIT;
    a.q.buffer = l->q;
    a.k.buffer = l->pool_k;
    a.v.buffer = l->pool_v;
    a.out.buffer = l->out;
    RIG_OK(rapt_attention_bind(p->attend, &a, &l->attend, error));
}

static void make_layer(layer *l, const plans *p, uint64_t seed)
{
    l->keys = rig_numbers(RAPT_F32, KV_HEADS * KEYS * DIM, seed);
    l->values = rig_numbers(RAPT_F32, KV_HEADS * KEYS * DIM, seed + 1);
    l->queries = rig_numbers(RAPT_F32, HEADS * DIM, seed + 2);
    l->k = on_host(l->keys, KV_HEADS * KEYS * DIM * 4);
    l->v = on_host(l->values, KV_HEADS * KEYS * DIM * 4);
    l->q = rig_upload(the_rig.device, l->queries, HEADS * DIM * 4);
    l->summary = on_device(KV_HEADS * BLOCKS * DIM * 4);
    l->out = on_device(HEADS * DIM * 4);
    l->list = on_device(KV_HEADS * TOP * 4);
    l->mask = on_device(HEADS * BLOCKS * 4);
    l->pool_k = on_device(KV_HEADS * TOP * BLOCK * DIM * 4);
    l->pool_v = on_device(KV_HEADS * TOP * BLOCK * DIM * 4);
    bind_layer(l, p);
}

static void free_layer(layer *l)
{
    rapt_binding **const bindings[] = {&l->summarise, &l->route, &l->gather_k, &l->gather_v, &l->attend};
    rapt_buffer **const buffers[] = {&l->k, &l->v, &l->summary, &l->q, &l->out, &l->list, &l->mask, &l->pool_k, &l->pool_v};
    for (size_t i = 0; i < 5; i++)
        rapt_binding_destroy(bindings[i]);
    for (size_t i = 0; i < 9; i++)
        rapt_buffer_destroy(buffers[i]);
    free(l->keys);
    free(l->values);
    free(l->queries);
}

/* The output in double precision, over the blocks of the mask. Also: that it takes TOP blocks, the same for the heads of a group. */
static void check(const layer *l)
{
    float out[HEADS * DIM];
    int32_t mask[HEADS * BLOCKS];
    RIG_OK(rapt_buffer_download(l->out, 0, out, sizeof out, error));
    RIG_OK(rapt_buffer_download(l->mask, 0, mask, sizeof mask, error));
    for (int h = 0; h < HEADS; h++) {
        const int kv = h * KV_HEADS / HEADS;
        double sum = 0, row[DIM] = {0};
        int taken = 0;
        for (int b = 0; b < BLOCKS; b++) {
            taken += mask[h * BLOCKS + b];
            assert_int_equal(mask[h * BLOCKS + b], mask[kv * HEADS / KV_HEADS * BLOCKS + b]);
        }
        assert_int_equal(taken, TOP);
        for (int j = 0; j < KEYS; j++) {
            double score = 0;
            for (int x = 0; x < DIM; x++)
                score += (double)l->queries[h * DIM + x] * (double)l->keys[(kv * KEYS + j) * DIM + x];
            const double weight = mask[h * BLOCKS + j / BLOCK] ? exp(score / 8) : 0;
            sum += weight;
            for (int x = 0; x < DIM; x++)
                row[x] += weight * (double)l->values[(kv * KEYS + j) * DIM + x];
        }
        for (int x = 0; x < DIM; x++)
            assert_float_equal(out[h * DIM + x], row[x] / sum, 1e-4);
    }
}

static void step(layer *layers, bool summaries, uint32_t *barriers)
{
    rapt_graph *graph = NULL;
    rapt_graph_info info = RAPT_GRAPH_INFO_INIT;
    RIG_OK(rapt_graph_create(the_rig.device, NULL, &graph, error));
    for (int n = 0; n < LAYERS; n++) {
        layer *l = &layers[n];
        rapt_binding *const nodes[] = {summaries ? l->summarise : l->route, l->route, l->gather_k, l->gather_v, l->attend};
        for (size_t i = summaries ? 0 : 1; i < 5; i++)
            RIG_OK(rapt_graph_add(graph, nodes[i], 0, NULL, error));
    }
    RIG_OK(rapt_graph_finish(graph, error));
    RIG_OK(rapt_graph_submit(graph, error));
    RIG_OK(rapt_graph_wait(graph, UINT64_MAX, error));
    RIG_OK(rapt_graph_describe(graph, &info, error));
    *barriers = info.barriers;
    rapt_graph_destroy(&graph);
}

static void test_retrieval(void **state)
{
    (void)state;
    static layer layers[LAYERS];
    plans p;
    uint32_t barriers;
    rig_open(&the_rig, NULL);
    make_plans(&p);
    for (int n = 0; n < LAYERS; n++)
        make_layer(&layers[n], &p, 11 + 10 * (uint64_t)n);
    step(layers, true, &barriers);
    /* Summaries, routes, gathers, attention: a layer waits for nothing of the other's. */
    assert_int_equal(barriers, 3);
    for (int n = 0; n < LAYERS; n++)
        check(&layers[n]);
    /* The host writes behind the device's back, in between: seen by what is submitted next. */
    for (int n = 0; n < LAYERS; n++) {
        for (int i = 0; i < KV_HEADS * KEYS * DIM; i++)
            layers[n].values[i] = -layers[n].values[i] + 1;
        memcpy(rapt_buffer_map(layers[n].v), layers[n].values, KV_HEADS * KEYS * DIM * 4);
    }
    step(layers, false, &barriers);
    assert_int_equal(barriers, 2);
    for (int n = 0; n < LAYERS; n++)
        check(&layers[n]);
    for (int n = 0; n < LAYERS; n++)
        free_layer(&layers[n]);
    rapt_plan **const all[] = {&p.summarise, &p.route, &p.gather, &p.attend};
    for (size_t i = 0; i < 4; i++)
        rapt_plan_destroy(all[i]);
    rig_close(&the_rig);
}

/* New rows go straight to the host's memory, where it reads them without a copy. */
static void test_append(void **state)
{
    (void)state;
    float *rows = rig_numbers(RAPT_F32, KV_HEADS * 3 * DIM, 5);
    static float before[KV_HEADS * KEYS * DIM];
    const int32_t slots[3] = {40, 7, 95};
    rig_open(&the_rig, NULL);
    rapt_buffer *cache = on_host(before, sizeof before), *x = rig_upload(the_rig.device, rows, KV_HEADS * 3 * DIM * 4),
                *list = rig_upload(the_rig.device, slots, sizeof slots);
    rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
    d.kind = RAPT_ROWS_PLACE;
    d.x = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, 3, DIM);
    d.list = (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, 1, 3}, .stride = {3, 3, 1}};
    d.out = rapt_tensor_bhnd(RAPT_F32, 1, KV_HEADS, KEYS, DIM);
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    args.x.buffer = x;
    args.list.buffer = list;
    args.out.buffer = cache;
    RIG_OK(rapt_rows_run(the_rig.device, &d, &args, error));
    const float *got = rapt_buffer_map(cache);
    for (int h = 0; h < KV_HEADS; h++)
        for (int i = 0; i < 3; i++)
            assert_memory_equal(got + (h * KEYS + slots[i]) * DIM, rows + (h * 3 + i) * DIM, DIM * 4);
    assert_float_equal(got[0], 0, 0);
    rapt_buffer_destroy(&cache);
    rapt_buffer_destroy(&x);
    rapt_buffer_destroy(&list);
    free(rows);
    rig_close(&the_rig);
}

static void test_bad_input(void **state)
{
    (void)state;
    rapt_buffer *b = NULL;
    rig_open(&the_rig, NULL);
    RIG_FAILS(rapt_buffer_create_host(NULL, 16, &b, error), RAPT_ERROR_INVALID, "device");
    RIG_FAILS(rapt_buffer_create_host(the_rig.device, 16, NULL, error), RAPT_ERROR_INVALID, "buffer");
    RIG_FAILS(rapt_buffer_create_host(the_rig.device, 0, &b, error), RAPT_ERROR_INVALID, "at least 1 byte");
    RIG_FAILS(rapt_buffer_create_host(the_rig.device, UINT64_MAX, &b, error), RAPT_ERROR_OUT_OF_DEVICE_MEMORY, "at most");
    assert_null(rapt_buffer_map(NULL));
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retrieval),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_bad_input),
    };
    return RIG_RUN("spill", tests);
}
