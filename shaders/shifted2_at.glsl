// shifted2_at.glsl - elements of x for shifted2.glsl, once x is declared.
vec2 shifted_at(shifted s, uint j)
{
    vec2 v;
    GET2(v, x, x_o + shifted_from(s, j) * x_s + j)
    return j < D / 2 || s.late ? v : vec2(0);
}
