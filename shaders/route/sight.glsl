// What causality shows a tile of queries: blocks before `blocks`; and the blocks that its own positions lie in, [own, own_end).
struct RouteSight {
    uint blocks, own, own_end;
};

RouteSight sight_of(uint tile)
{
    const int first = int(tile * p.block_q) + p.diagonal;
    const int last = int(min(tile * p.block_q + p.block_q, p.nq)) - 1 + p.diagonal;
    RouteSight s;
    s.own = min(uint(max(first, 0)) / p.block_k, p.blocks);
    s.own_end = last < 0 ? 0u : min(uint(last) / p.block_k + 1u, p.blocks);
    s.blocks = (p.flags & RAPT_ROUTE_PARAM_CAUSAL) != 0u ? s.own_end : p.blocks;
    return s;
}
