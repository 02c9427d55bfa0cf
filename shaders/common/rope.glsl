// Rotary positions (RoFormer, arXiv:2104.09864) with angles as 64-bit fractions of turns.

// The upper half of the product of two 64-bit integers (low word, high word), to two units of its last place.
uvec2 multiply(uvec2 a, uvec2 b)
{
    uint high, low, cross, lost, carry, carried;
    umulExtended(a.y, b.y, high, low);
    umulExtended(a.y, b.x, cross, lost);
    low = uaddCarry(low, cross, carry);
    umulExtended(a.x, b.y, cross, lost);
    low = uaddCarry(low, cross, carried);
    return uvec2(low, high + carry + carried);
}

// Turns per position of pair i, as a 64-bit fraction: ratio^i / (2 pi). Positions times turns then keep their fraction,
// however far they are, where radians in single precision would lose it.
uvec2 turns_of_pair(uint i, uvec2 ratio)
{
    uvec2 turns = uvec2(0x9391054au, 0x28be60dbu), power = ratio;
    for (; i != 0u; i >>= 1) {
        if ((i & 1u) != 0u)
            turns = multiply(turns, power);
        power = multiply(power, power);
    }
    return turns;
}

// (cos, sin) of the angle that a position has turned, to single precision whatever the device's own functions have.
vec2 turn(int place, uvec2 turns)
{
    uint high, low;
    umulExtended(uint(place), turns.x, high, low);
    uint angle = uint(place) * turns.y + high - (place < 0 ? turns.x : 0u); // in 2^-32 turns
    uint quarter = (angle + 0x20000000u) >> 30;
    float x = float(int(angle - (quarter << 30))) * 1.4629180792671596e-9; // radians, within pi / 4
    float z = x * x;
    float s = fma(x * z, fma(z, fma(z, -0.000195172994, 0.008332178), -0.166666552), x);
    float c = fma(z * z, fma(z, fma(z, 2.44384519e-05, -0.00138873677), 0.0416666456), fma(z, -0.5, 1.0));
    vec2 cs = (quarter & 1u) != 0u ? vec2(-s, c) : vec2(c, s);
    return (quarter & 2u) != 0u ? -cs : cs;
}
