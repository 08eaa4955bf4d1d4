// t.h - the operators as a model writes them: one line each. Letters: B batch, T tokens, D width,
// R rows (B*T), V vocabulary, H heads, K head width. Poisoned arguments give poisoned results.
#pragma once
#include "../core/tape.h"

// x[..,D] as rows [R,D], without a copy
static inline hx_t t_flat(hx_t x)
{
    return hx_reshape(x, 2, (int64_t[]){ hx_rows(x), hx_dim(x, -1) });
}

// ---- matrix products ---------------------------------------------------------------------
typedef enum { HX_ACT_NONE, HX_ACT_GELU, HX_ACT_SILU, HX_ACT_RELU } hx_act;   // exact (erf) GELU
// y = act(x w^T + b) + r;  x[..,I] w[O,I] b[O]|NONE r[..,O]|NONE -> [..,O]
hx_t t_linear(hx_t x, hx_t w, hx_t b, hx_act act, hx_t r);
hx_t t_matmul_nn(hx_t a, hx_t b);          // a b;  a[M,K] b[K,N] -> [M,N]
// x for readers that round it: a copy that takes half the memory, made once, where hx_tape.narrow says
// that there are such and x is not made in 16 bits anyway
hx_t t_narrow(hx_t x);
hx_t t_matmul_tn(hx_t a, hx_t b);          // a^T b, long sums in parts;  a[K,M] b[K,N] -> [M,N]
hx_t t_add(hx_t x, hx_t y);                // any one shape
hx_t t_scale(hx_t x, float s);             // s x
hx_t t_axpy(hx_t x, hx_t y, float s);      // s x + y
// 0 with probability p, else x / (1 - p): which ones follows from dice#[4] and place, see hx_dice and
// hx_dropout; x where dice is HX_NONE.  Any one shape
hx_t t_dropout(hx_t x, hx_t dice, double p, int place);
hx_t t_colsum(hx_t x);                     // x[R,C] -> [C], sum over rows in a fixed tree
hx_t t_sum(hx_t x);                        // all elements -> [1], in a fixed tree

// ---- norms; shift = a > 0 first delays the second half of the channels by a tokens --------
// s[b,t,c] = x[b,t,c] for c < ceil(D/2), else x[b,t-a,c] (0 for t < a)
hx_t t_rmsnorm(hx_t x, hx_t g, int shift);             // s / max(|s|, 1e-12) sqrt(D) g;  x[B,T,D] g[D]
hx_t t_layernorm(hx_t x, hx_t g, hx_t b, int shift);   // (s-mean)/sqrt(var+1e-5) g + b;  b may be NONE
hx_t t_shift(hx_t x, int shift);                       // the shift alone
hx_t t_rmsnorm_eps(hx_t x, hx_t g, float eps);         // x / sqrt(mean x^2 + eps) g;  x[B,T,D] g[D]

// ---- tokens ------------------------------------------------------------------------------
hx_t t_embedding(hx_t ids, hx_t e, int64_t take);      // ids#[B,N] e[V,D] -> [B,take,D], first `take` tokens
// y[b,j,i] = ids[b, j*stride + offset + i], 0 outside;  ids#[B,N] -> #[B,m,width]
hx_t t_window_ids(hx_t ids, int64_t m, int width, int stride, int offset);
// u[b,j,i*k+p] = x[b, j*stride - (k-1) + p, i], 0 before the start: a causal convolution is
// t_linear(t_unfold(x, k, stride), W reshaped to [O, I*k], ...);  x[B,T,D] -> [B,ceil(T/stride),D*k]
hx_t t_unfold(hx_t x, int k, int stride);
hx_t t_repeat(hx_t x, int64_t n, int s);               // y[b,p] = x[b,p/s];  x[B,T,D] -> [B,n,D], n <= T*s
hx_t t_take(hx_t x, int64_t m, int s);                 // y[b,j] = x[b,j*s];  x[B,N,D] -> [B,m,D]
// y[b,t] = x[b, t - shift], 0 outside: padding, cropping, a causal shift;  x[B,T,D] -> [B,n,D]
hx_t t_delay(hx_t x, int64_t n, int64_t shift);
// Mean of s tokens, `shift` tokens late: y[b,j] = 1/s sum of x[b,t] over j*s - shift <= t <
// j*s - shift + s, zeros outside;  x[B,T,D] -> [B,ceil(T/s),D]
hx_t t_pool(hx_t x, int s, int shift);
hx_t t_any_ids(hx_t x);                    // 1 for each row of x#[..,W] that is not all 0 -> #[R]

hx_t t_swap(hx_t x);                       // y[a,q,p] = x[a,p,q];  x[A,P,Q,D] -> [A,Q,P,D]
// y[t,b] = ids[b, from + t];  ids#[B,N] -> #[m,B]
hx_t t_turn_ids(hx_t ids, int64_t from, int64_t m);

// ids - first where first <= ids < first + n, or `to` there when to >= 0; elsewhere `other` (HX_NONE:
// -1): parts of a vocabulary.  ids,other#[R] -> #[R]
hx_t t_span_ids(hx_t ids, hx_t other, int64_t first, int64_t n, int64_t to);
hx_t t_keep_rows(hx_t x, hx_t ids);        // x[r], 0 where ids[r] < 0;  x[R,D] ids#[R]
// z - log sum exp z + c per row, without a gradient;  z[R,V] c[R,1]|NONE -> [R,V]
hx_t t_log_softmax(hx_t z, hx_t c);

// ---- gates -------------------------------------------------------------------------------
hx_t t_geglu(hx_t x);                      // x[..,:C] gelu(x[..,C:]);  x[..,2C] -> [..,C]
// w2 geglu(w1 x) + r;  w1[2C,D] w2[D,C]. Where products round, weights whose C is no multiple of 8 are
// copied into ones whose is: kernels move eight numbers of 16 bits at a time.
hx_t t_geglu_layer(hx_t x, hx_t w1, hx_t w2, hx_t r);
hx_t t_gelu_gate(hx_t x, hx_t g);          // x gelu(g);  x,g[R,C]
// f z + (1-f) s with f = sigmoid b;  z,s[..,C] b[C]
hx_t t_ema(hx_t z, hx_t s, hx_t b);
// sigmoid(f + 1) s + sigmoid(i - 1) tanh z;  all [..,C]
hx_t t_lstm_gate(hx_t z, hx_t i, hx_t f, hx_t s);
hx_t t_tanh_affine(hx_t z, hx_t s, hx_t a);            // s tanh z + a;  z[R,C] s,a[C]
// Mixing S streams of R tokens by weights of each token: y[r,t] = sum_s w[r,s,t] x[r,s];
// x[R,S,D] w[R,S,T] -> [R,T,D]
hx_t t_hyper_in(hx_t x, hx_t w);
// the opposite: y[r,s] = c[r,s] + sum_t w[r,s,t] x[r,t];  x[R,T,D] w[R,S,T] c[R,S,D]|NONE
hx_t t_hyper_out(hx_t x, hx_t w, hx_t c);
// a f x with f = sigmoid g, one for C/G neighbouring channels; rest: f = 1 - sigmoid g;  x[..,C] g[..,G]
hx_t t_gate(hx_t x, hx_t g, float a, bool rest);
// GRU: (1-z) n + z x, z = sigmoid(i_z + h_z), n = tanh(i_n + r h_n), r = sigmoid(i_r + h_r);
// i,h[..,3D] in the order r, z, n, biases added, x[..,D] -> [..,D]
hx_t t_gru(hx_t i, hx_t h, hx_t x);

// ---- memories of linear attention: a matrix [K,K+1] a head, its last column the normaliser ----
hx_t t_feature(hx_t x);                    // elu(x) + 1
// y[b,t,h] = a[b,t,h] m[b,h];  a[B,T,H*K] m[B,H*K,N] -> [B,T,H*N]
hx_t t_heads(hx_t a, hx_t m, int heads);
// m[b,h] = sum_t a[b,t,h]^T y[b,t,h] + c;  a[B,T,H*K] y[B,T,H*N] c[B,H*K,N]|NONE -> [B,H*K,N]
hx_t t_heads_tn(hx_t a, hx_t y, hx_t c, int heads);
// n / max(d, 1e-10) per head, n beside d;  nd[..,H*(K+1)] -> [..,H*K]
hx_t t_quotient(hx_t nd, int heads);
// f x + (1-f) n / max(d, 1e-10) with f = sigmoid g per head, x where the memory is empty: d <= 0;
// x[..,H*K] nd[..,H*(K+1)] g[H]
hx_t t_recall(hx_t x, hx_t nd, hx_t g);

// ---- attention ---------------------------------------------------------------------------
// Rotary embedding of H heads: with f(t) = cs[t/axial], y = (x1 c - x2 s, x2 c + x1 s) per head;
// x[B,T,H*K] cs[P,K] (cosines, then sines, K/2 each, scales multiplied in)
hx_t t_rotary(hx_t x, hx_t cs, int heads, int axial);
// the same for an x whose memory has other readers, through other views
hx_t t_rotary_copy(hx_t x, hx_t cs, int heads, int axial);
// cs for positions 0..n-1; xpos: 0 none, +1 scale for queries, -1 inverse scale for keys,
// with base 512, gamma 0.4, centred at n/2. fp64 on the host.
hx_t t_rotary_table(hx_tape *t, int64_t n, int head_width, int xpos);
// the same for positions first .. first+n-1 of `all`, centred at all/2
hx_t t_rotary_span(hx_tape *t, int64_t first, int64_t n, int64_t all, int head_width, int xpos);
// Which weights of an attention are left out in training: each with probability p, the others grow by
// 1/(1-p). dice and place: of hx_dice. HX_ALL_WEIGHTS: none.
typedef struct hx_left_out { hx_t dice; double p; int place; } hx_left_out;
#define HX_ALL_WEIGHTS ((hx_left_out){ HX_NONE, 0, 0 })
// y_i = sum_j softmax_j(q_i.k_j / sqrt K) v_j over the keys that i sees, per head, where tokens
// i, j belong to one residue class: i mod axial = j mod axial. Window w < 0: all j <= i (causal);
// w >= 0: the class-local distance is at most w (w+1 keys). Keys that are more than queries came
// before them: a memory. q[B,T,H*K], k,v[B,M,G*K] with M >= T -> [B,T,H*K]; each of G heads of keys
// serves H/G of queries.
hx_t t_attention(hx_t q, hx_t k, hx_t v, int heads, int axial, int window);
// the same where gone#[B,axial] of the oldest keys of a class are not there, as if the memory were
// that much shorter, bit by bit; HX_NONE: all are
hx_t t_attention_after(hx_t q, hx_t k, hx_t v, int heads, int axial, int window, hx_t gone);
// the same without the weights that are left out
hx_t t_attention_less(hx_t q, hx_t k, hx_t v, int heads, int axial, int window, hx_t gone, hx_left_out less);
// the same over all M keys of the residue class, whatever M
hx_t t_attention_full(hx_t q, hx_t k, hx_t v, int heads, int axial);
hx_t t_attention_full_less(hx_t q, hx_t k, hx_t v, int heads, int axial, hx_left_out less);
// Scores in memory to shares: softmax over the keys that query t sees: those of km != 0, up to t if
// causal, and of the first `own` only number t; where qm is 0, and where there are none, all alike.
// s[B,T,H,M] bias[T,H,M]|NONE qm#[B,T]|NONE km#[B,M-own]|NONE -> [B,T,H,M]
hx_t t_softmax(hx_t s, hx_t bias, hx_t qm, hx_t km, bool causal, int own);
// Attention by contents and by distance (Transformer-XL): scores ((q_i+u).k_j + (q_i+w).r_d) / sqrt K
// of query i and a key d tokens before it, rows in the order of time. q[N,B,H*K] k,v[M,B,H*K], M >= N;
// r[M,H*K]: row d for distance d; u,w[H*K] -> [N,B,H*K]. A query sees the keys up to itself. Of
// them only the newest `band` (0: all). Of the queries the first `read` and last `write` are
// memory slots, each end's slots seeing each other, the cache before all queries only with `cache`;
// gone#[B] (or HX_NONE): how many of the cache's first keys no query of a batch row sees.
// With slide, row d + gone of r is for distance d.
typedef struct hx_rel {
    int32_t heads, band, read, write;
    bool cache, slide;
    hx_left_out less;
} hx_rel;
hx_t t_rel_attention(hx_t q, hx_t k, hx_t v, hx_t r, hx_t u, hx_t w, hx_t gone,
                     const hx_rel *how);
// causal, but the first and the last `slots` queries of a residue class are memory: everyone sees the
// first and what is older, the last see all; gone as above
hx_t t_attention_slots(hx_t q, hx_t k, hx_t v, int heads, int axial, int slots, hx_t gone,
                       hx_left_out less);

// ---- what earlier steps leave: age[b] is how many tokens of its document row b has been through ----
// y[a,b] = old[a,b] where age[b] > 0, else init[a,b]; HX_NONE: 0. age#[B] old,init[A,B,C]. States in
// the order of batch rows are [1,B,n*D], in the order of time [n,B,D].
hx_t t_renew(hx_t age, hx_t old, hx_t init);
// `plus` tokens later; 0 where drop[b] is not 0 (HX_NONE: nowhere).  age,drop#[B] -> #[B]
hx_t t_older(hx_t age, hx_t drop, int64_t plus);
// How many of the memory's `size` slots are not there yet when `unit` tokens make `per` of them
// (age + plus tokens, at least 0), added to more[b] (HX_NONE: to 0): what t_attention_after is given
// for a memory of the newest tokens.  age,more#[B] -> #[B]
hx_t t_gone(hx_t age, hx_t more, int64_t size, int64_t plus, int64_t unit, int64_t per);

// ---- losses ------------------------------------------------------------------------------
// Mean over labels != ignore of -log softmax(e w^T)[label]; 0/0 is NaN, as in the reference.
// e[R,D] w[V,D] labels#[R] -> [1]. Logits exist in chunks of at most `chunk_bytes` (0: 64 MiB).
// Several labels for each row are as many stacked heads: w[C*V,D] labels#[R,C], class i V + v.
hx_t t_cross_entropy_head(hx_t e, hx_t w, hx_t labels, int ignore, int64_t chunk_bytes);
// n[r] of every row as above, and where hits is not NULL whether it was right -> [R], *hits#[R]
hx_t t_cross_entropy_rows(hx_t e, hx_t w, hx_t b, hx_t labels, int ignore, int64_t chunk_bytes,
                          hx_t *hits);
// the same as t_cross_entropy_head for logits e w^T + b;  b[V]
hx_t t_cross_entropy_head_bias(hx_t e, hx_t w, hx_t b, hx_t labels, int ignore,
                               int64_t chunk_bytes);
// n[r] = log sum_v exp z[r,v] - z[r,labels[r]], 0 where labels[r] = ignore;
// z[R,V] labels#[R] -> [R]
hx_t t_cross_entropy(hx_t z, hx_t labels, int ignore);
// Mean of n[r] over the rows with labels[r] != ignore; NaN if there are none.  n[R] -> [1]
hx_t t_valid_mean(hx_t n, hx_t labels, int ignore);
// The mean over all of several parts is the sum of their shares: k = number of labels != ignore,
// at least 1; share = sum of n[r] over the rows with labels[r] != ignore / k.  labels#[R] n[R] k#[1]
hx_t t_count_valid(hx_t labels, int ignore);
hx_t t_valid_share(hx_t n, hx_t labels, hx_t count, int ignore);
// h[r] = 1 if labels[r] is the likeliest class (the first of equals), 0 if not, -1 where labels[r]
// = ignore;  z[R,V] labels#[R] -> #[R]
hx_t t_hits(hx_t z, hx_t labels, int ignore);
// c[b] = how many of h[b,:] are 1 and 0, added to before[b];  h#[B,T] before#[B,2]|NONE -> #[B,2]
hx_t t_tally(hx_t h, hx_t before);
// 1 - mean over b and t < T-1 of cos(p[b,t], e[b,t+1]), norms clamped at 1e-12; p,e[B,T,D] -> [1]
hx_t t_cosine_loss(hx_t p, hx_t e);
hx_t t_mse(hx_t x, hx_t y);                // mean of (x - y)^2, any one shape -> [1]

// ---- optimizers: arrays of N weights in a row, a step block and what stays the same ---------
// Position of each value in the step block, a fp32 input [HX_STEP_VALUES] written every step.
enum {
    HX_STEP_LR, HX_STEP_BIAS1, HX_STEP_BIAS2, HX_STEP_CLIP, HX_STEP_SCALE, HX_STEP_LIMIT,
    HX_STEP_EMA, HX_STEP_VALUES = 16
};
// LR: learning rate; BIAS1, BIAS2: 1 - beta1^t, 1 - beta2^t with the fp32 betas below; CLIP: largest
// gradient norm (<= 0: none); SCALE: factor on every gradient before its norm is taken (1 /
// accumulated batches); LIMIT: a gradient whose norm is larger (0: no limit), or not finite, is not
// used: its factor is -1, on which optimizers leave everything as it is; EMA: 1 - decay of means.
typedef struct hx_optim_conf { float beta1, beta2, eps, weight_decay; } hx_optim_conf;
// Gradient norm after SCALE -> *norm[1], and the factor on every gradient that clips it -> [1],
// from the sums of squares of n parts of the gradient.
hx_t t_sumsq(hx_t g);                      // g[N] -> sums over blocks of 4096, [ceil(N/4096),1]
hx_t t_clip(int n, const hx_t *sums, hx_t step, hx_t *norm);
// One step of Adam: p, m and v are external values and are written in place.
void t_adam(const hx_optim_conf *k, hx_t step, hx_t factor, hx_t p, hx_t g, hx_t m, hx_t v);
// e += rate (p - e) in place, with the step block's EMA: the moving mean of the weights.
void t_follow(hx_t step, hx_t e, hx_t p);
void t_adamw(const hx_optim_conf *k, hx_t step, hx_t factor, hx_t p, hx_t g, hx_t m, hx_t v);
