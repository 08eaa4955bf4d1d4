#version 460
// m[b,h] = sum_t a[b,t,h]^T y[b,t,h] + c[b,h]     a workgroup's z is its head of its batch row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(push_constant) uniform push {
    uint B, T, D, C;
    int heads;
    uint a_o, a_s, y_o, y_s, c_o, c_s, m_o, m_s, opts;
};
IN(0, a);  IN(1, y);  IN(2, c);  OUT(3, m);

uint head() { return gl_WorkGroupID.z % uint(heads); }
uint first() { return gl_WorkGroupID.z / uint(heads) * T; }
uint width() { return D / uint(heads); }
void put(uint k, uint n, float s)
{
    uint row = gl_WorkGroupID.z * width() + k;
    m[m_o + row * m_s + n] = HAS(2) ? s + c[c_o + row * c_s + n] : s;
}

#define A a
#define A_AT(k, t) a_o + (first() + (t)) * a_s + head() * width() + (k)
#define A_STEP a_s
#define B y
#define B_AT(t, n) y_o + (first() + (t)) * y_s + head() * (C / uint(heads)) + (n)
#define B_STEP y_s
#define A_BY_K false
#define B_BY_K false
#define PUT put
#include "matmul.glsl"

void main() { matmul(width(), C / uint(heads), T); }
