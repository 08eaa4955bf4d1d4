#version 460
// a[b,t,h] = y[b,t,h] m[b,h]^T         a workgroup's z is its head of its batch row: matmul.glsl
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(push_constant) uniform push {
    uint B, T, N, D;
    int heads;
    uint y_o, y_s, m_o, m_s, a_o, a_s;
};
IN(0, y);  IN(1, m);  OUT(2, a);

uint head() { return gl_WorkGroupID.z % uint(heads); }
uint first() { return gl_WorkGroupID.z / uint(heads) * T; }
uint width() { return D / uint(heads); }
uint terms() { return N; }
void put(uint t, uint k, float s) { a[a_o + (first() + t) * a_s + head() * width() + k] = s; }

#define A y
#define A_AT(t, n) y_o + (first() + (t)) * y_s + head() * terms() + (n)
#define A_STEP 1
#define B m
#define B_AT(n, k) m_o + (gl_WorkGroupID.z * width() + (k)) * m_s + (n)
#define B_STEP 1
#define A_BY_K true
#define B_BY_K true
#define PUT put
#include "matmul.glsl"

void main() { matmul(T, width(), N); }
