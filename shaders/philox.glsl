// philox.glsl - random words as src/ops/philox.h draws them.

// Philox4x32-10 (Salmon et al. 2011)
uvec4 philox(uvec4 c, uvec2 k)
{
    for (int round = 0; round < 10; round++) {
        uint hi0, lo0, hi1, lo1;
        umulExtended(0xd2511f53u, c.x, hi0, lo0);
        umulExtended(0xcd9e8d57u, c.z, hi1, lo1);
        c = uvec4(hi1 ^ c.y ^ k.x, lo1, hi0 ^ c.w ^ k.y, lo0);
        k += uvec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}
