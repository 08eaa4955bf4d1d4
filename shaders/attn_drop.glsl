// attn_drop.glsl - attention weights left out at random: what every kernel of a weight draws again from the
// numbers of the step, a tile of BR queries against BC keys at a time, four keys in one drawing. The including
// shader has pushed drop (the chance), stays (the factor of what is kept) and spot (which of the model's
// dropouts), and binds dice.
#include "philox.glsl"
const uint FOURS = BC / 4 + 1;             // of keys that a tile may touch
shared uint keep[BR * FOURS];              // a bit for each of four keys

uvec4 drawn(uint line, uint i, uint fours, uint n)
{
    uint at = i * ((n + 3) / 4) + fours;
    return philox(uvec4(at, line, dice[2], dice[3]), uvec2(dice[0], (uint(dice[1]) ^ 0x6174746eu) + spot));
}
uint least() { return uint(drop * 4294967296.0); }

// Before a barrier: queries i0 .. and keys j0 .. of `line`, a class of a head of a batch row that has at most n
// keys. The first key of every next row is `step` further; what is less than 0 begins at 0.
void draw(uint line, uint i0, int j0, int step, uint n)
{
    for (uint e = gl_LocalInvocationIndex; e < BR * FOURS; e += TX * TY) {
        uint row = e / FOURS, from = uint(max(j0 + step * int(row), 0));
        uvec4 x = drawn(line, i0 + row, from / 4 + e % FOURS, n);
        uvec4 bits = uvec4(greaterThanEqual(x, uvec4(least()))) << uvec4(0, 1, 2, 3);
        keep[e] = bits.x | bits.y | bits.z | bits.w;
    }
}

// 0 or stays: row of the tile, and key j of those from j0 on
float kept(uint row, uint j0, uint j)
{
    return (keep[row * FOURS + j / 4 - j0 / 4] >> j % 4 & 1) == 0 ? 0 : stays;
}

// the same of any query and key
float kept_at(uint line, uint i, uint j, uint n)
{
    return drawn(line, i, j / 4, n)[j % 4] < least() ? 0 : stays;
}
