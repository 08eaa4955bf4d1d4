// shifted.glsl - rows of x with the second half of their channels `shift` tokens late. Needs T, D,
// shift, x_o, x_s and x. Reads every element by one address, without branches.
struct shifted { uint own, other; bool late; };   // rows of the halves; whether `other` is read

// Where row `row`, token t, comes from. The rows that are too early to read anything in their
// second half stand for as many at the sequence's end that nothing reads: each row of x is named
// once.
shifted shifted_row(uint row, uint t)
{
    uint a = min(uint(shift), T);
    bool late = t >= a;
    return shifted(row, late ? row - a : row + T - a, late);
}
uint shifted_from(shifted s, uint j) { return j < (D + 1) / 2 ? s.own : s.other; }

float shifted_at(shifted s, uint j)
{
    bool own = j < (D + 1) / 2;
    float v = x[x_o + (own ? s.own : s.other) * x_s + j];
    return own || s.late ? v : 0;
}
