// Maximum and sum over the LANES lanes of each row, and the barriers that go with them.
//
// REDUCE 0 goes through shared memory and asks nothing of subgroups. REDUCE 1 uses shuffles, for which a row's lanes
// must be consecutive invocations of one subgroup; then the weights of a row, too, are written and read by that
// subgroup alone, and need no barrier of the workgroup.
#if REDUCE == 0

// Reading the maxima of many lanes in a loop that stays one takes a Mali compiler half the registers; others do better
// without (V3D spills).
#ifdef REDUCE_LOOP
#define REDUCE_UNROLL dont_unroll
#else
#define REDUCE_UNROLL unroll
#endif

#define REDUCE_PITCH (LANES + 4) // in floats: rows stay aligned to vec4
shared vec4 reduce_slots[TILE_ROWS * REDUCE_PITCH / 4];

void reduce_share(uint row, uint lane, float x)
{
    reduce_slots[row * (REDUCE_PITCH / 4) + lane / 4u][lane % 4u] = x;
}

void row_max(inout float x[LANE_ROWS], uint lane, uint lane_group)
{
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        reduce_share(lane_group + LANE_GROUPS * r, lane, x[r]);
    barrier();
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint slot = (lane_group + LANE_GROUPS * r) * (REDUCE_PITCH / 4);
        vec4 best = reduce_slots[slot];
        [[REDUCE_UNROLL]] for (uint i = 1; i < LANES / 4; i++)
            best = max(best, reduce_slots[slot + i]);
        x[r] = max(max(best.x, best.y), max(best.z, best.w));
    }
}

void row_sum(inout float x[LANE_ROWS], uint lane, uint lane_group)
{
    barrier(); // the maxima have been read
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        reduce_share(lane_group + LANE_GROUPS * r, lane, x[r]);
    barrier();
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint slot = (lane_group + LANE_GROUPS * r) * (REDUCE_PITCH / 4);
        vec4 sum = reduce_slots[slot];
        [[REDUCE_UNROLL]] for (uint i = 1; i < LANES / 4; i++)
            sum += reduce_slots[slot + i];
        x[r] = sum.x + sum.y + sum.z + sum.w;
    }
}

// Whether a condition holds in any lane. Not known here: yes.
bool any_lane(bool condition) { return true; }
// Between writing the weights of a tile and reading them.
void row_barrier() { barrier(); }
// Between reading them and writing those of the next tile: the barrier inside row_max does it.
void row_barrier_after_tile() {}

#else

float lanes_max(float x)
{
    [[unroll]] for (uint i = 1; i < LANES; i *= 2)
        x = max(x, subgroupShuffleXor(x, i));
    return x;
}

float lanes_sum(float x)
{
    [[unroll]] for (uint i = 1; i < LANES; i *= 2)
        x += subgroupShuffleXor(x, i);
    return x;
}

void row_max(inout float x[LANE_ROWS], uint lane, uint lane_group)
{
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        x[r] = lanes_max(x[r]);
}

void row_sum(inout float x[LANE_ROWS], uint lane, uint lane_group)
{
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        x[r] = lanes_sum(x[r]);
}

bool any_lane(bool condition) { return subgroupAny(condition); }
void row_barrier() { subgroupBarrier(); }
void row_barrier_after_tile() { subgroupBarrier(); }

#endif
