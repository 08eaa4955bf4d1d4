// matmul_c.coop.glsl - y = a product + c: buffers and epilogue for matmul.coop.glsl.
IN(0, a);  IN(1, b);  IN(2, c);  OUT(3, y);

#define EIGHTS (N % 8 == 0)

void put8(uint m, uint n, vec4 lo, vec4 hi)
{
    if (HAS(2))
        ADD8(c, c_o + m * c_s + n, lo, hi)
    SET8(3, y, y_o + m * y_s + n, lo, hi)
}

void put1(uint m, uint n, float s)
{
    if (HAS(2))
        s += FLOAT(c, c_o + m * c_s + n);
    SET_FLOAT(y, y_o + m * y_s + n, s);
}
