// shifted2.glsl - shifted.glsl for pairs of channels, of rows with a multiple of 16 of them: then both
// come from one row. x is a buffer of vec2, and so is what GET2 and SET2 are used on.
#define IN2(i, x)  layout(set = 0, binding = i, std430) readonly  buffer in_##x  { vec2 x[]; }
#define OUT2(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { vec2 x[]; }
struct shifted { uint own, other; bool late; };   // rows of the halves; whether `other` is read

shifted shifted_row(uint row, uint t)
{
    uint a = min(uint(shift), T);
    bool late = t >= a;
    return shifted(row, late ? row - a : row + T - a, late);
}
uint shifted_from(shifted s, uint j) { return j < D / 2 ? s.own : s.other; }

// Two elements, wherever the first lies.
#define GET2(v, buf, from) {                                                                     \
        uint at = from;                                                                          \
        if (at % 2 == 0)                                                                         \
            v = buf[at / 2];                                                                     \
        else                                                                                     \
            v = vec2(buf[at / 2].y, buf[at / 2 + 1].x);                                          \
    }
#define SET2(buf, to, v) {                                                                       \
        uint at = to;                                                                            \
        if (at % 2 == 0) {                                                                       \
            buf[at / 2] = v;                                                                     \
        } else {                                                                                 \
            buf[at / 2].y = (v).x;                                                               \
            buf[at / 2 + 1].x = (v).y;                                                           \
        }                                                                                        \
    }
