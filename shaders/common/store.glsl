// Writing elements of the output: out_words1 and out_words4 are its buffer.
#if DTYPE != DTYPE_F32
// One 16-bit element. Its word may hold an element of another row, which another invocation writes in the same
// manner; each touches its own 16 bits only, so neither loses the other's.
void store_half(uint index, float x)
{
    uint shift = (index & 1u) * 16u;
    atomicAnd(out_words1[index >> 1], ~(0xffffu << shift));
    atomicOr(out_words1[index >> 1], pack1(x) << shift);
}

// Two elements that fill one word.
void store_pair(uint index, float x, float y)
{
    out_words1[index >> 1] = pack1(x) | (pack1(y) << 16);
}
#endif

// Elements [index, index + count) of the output; count 1 to 4. Words that lie wholly inside are stored plainly.
void store_out4(uint index, vec4 x, uint count)
{
    if (ALIGNED) {
        out_words4[index >> 2] = pack4(x);
        return;
    }
#if DTYPE == DTYPE_F32
    out_words1[index] = x.x;
    if (count > 1u) out_words1[index + 1u] = x.y;
    if (count > 2u) out_words1[index + 2u] = x.z;
    if (count > 3u) out_words1[index + 3u] = x.w;
#else
    if ((index & 1u) == 0u) {
        if (count > 1u) store_pair(index, x.x, x.y); else store_half(index, x.x);
        if (count > 3u) store_pair(index + 2u, x.z, x.w); else if (count > 2u) store_half(index + 2u, x.z);
    } else {
        store_half(index, x.x);
        if (count > 2u) store_pair(index + 1u, x.y, x.z); else if (count > 1u) store_half(index + 1u, x.y);
        if (count > 3u) store_half(index + 3u, x.w);
    }
#endif
}
