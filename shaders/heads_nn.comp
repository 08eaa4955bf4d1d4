#version 460
// y[b,t,h] = a[b,t,h] m[b,h]           a workgroup's z is its head of its batch row: matmul.glsl
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(push_constant) uniform push {
    uint B, T, D, N;
    int heads;
    uint a_o, a_s, m_o, m_s, y_o, y_s;
};
IN(0, a);  IN(1, m);  OUT(2, y);

uint head() { return gl_WorkGroupID.z % uint(heads); }
uint first() { return gl_WorkGroupID.z / uint(heads) * T; }
uint width() { return D / uint(heads); }
void put(uint t, uint n, float s) { y[y_o + (first() + t) * y_s + head() * N + n] = s; }

#define A a
#define A_AT(t, k) a_o + (first() + (t)) * a_s + head() * width() + (k)
#define A_STEP 1
#define B m
#define B_AT(k, n) m_o + (gl_WorkGroupID.z * width() + (k)) * m_s + (n)
#define B_STEP m_s
#define A_BY_K true
#define B_BY_K false
#define PUT put
#include "matmul.glsl"

void main() { matmul(T, N, width()); }
