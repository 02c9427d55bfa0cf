// One 16-bit element of the output. Its word may hold a neighbour's, which that invocation writes in the same manner; each
// touches its own 16 bits only, so neither loses the other's.
void store_out(uint index, float x)
{
    const uint shift = (index & 1u) * 16u;
    atomicAnd(out_words1[index >> 1], ~(0xffffu << shift));
    atomicOr(out_words1[index >> 1], pack1(x) << shift);
}
