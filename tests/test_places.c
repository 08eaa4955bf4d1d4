// test_places.c - what is made of a device's answer where it keeps the elements of its matrices.
#include "../src/core/places.h"
#include "suite.h"

enum { SLOTS = 32 };
static int32_t found[64 * (SLOTS + 1)];

// Rows in fours of lanes, pairs of columns in one: 8 elements of 16 x 16 for each of 32 lanes.
static int fours(int lane, int e)
{
    int row = lane / 4 + e / 4 * 8, col = lane % 4 * 2 + e % 2 + e / 2 % 2 * 8;
    return row * 16 + col;
}

// A column of 8 x 8 for each of 8 lanes.
static int columns(int lane, int e) { return e * 16 + lane; }

static int turned(int lane, int e) { return fours(lane, (e & 1) | (e & 2) << 1 | (e & 4) >> 1); }
static int mixed(int lane, int e) { return fours(lane ^ e / 4, e); }
static int other(int lane, int e) { return fours((lane + 1) % 32, e); }

static void answer(int lanes, int (*sums)(int, int), int (*factors)(int, int), bool nearest)
{
    for (int l = 0; l < lanes; l++) {
        for (int e = 0; e < 16; e++) {
            found[l * SLOTS + e] = e < 8 ? sums(l, e) : -1;
            found[l * SLOTS + 16 + e] = e < 8 ? factors(l, e) : -1;
        }
        found[lanes * SLOTS + l] = nearest;
    }
}

#define IS(a, b, c, d)                                                                           \
    do {                                                                                         \
        ck_assert_uint_eq(out[0], a);                                                            \
        ck_assert_uint_eq(out[1], b);                                                            \
        ck_assert_uint_eq(out[2], c);                                                            \
        ck_assert_uint_eq(out[3], d);                                                            \
    } while (0)

START_TEST(patterns_become_constants)
{
    uint32_t out[4];
    answer(32, fours, fours, true);
    ck_assert(hx_places_read(found, 32, out));
    IS(0x02014020, 0x04, 0x088010, 0x421);
    answer(8, columns, columns, true);
    ck_assert(hx_places_read(found, 8, out));
    IS(0x00402010, 0, 0x040201, 0x421);
    // factors' elements in another order
    answer(32, fours, turned, true);
    ck_assert(hx_places_read(found, 32, out));
    IS(0x02014020, 0x04, 0x088010, 0x241);
}
END_TEST

START_TEST(factors_elsewhere_are_not_made_of_sums)
{
    uint32_t out[4];
    answer(32, fours, other, true);
    ck_assert(hx_places_read(found, 32, out));
    IS(0x02014020, 0x04, 0x088010, 0);
    answer(32, fours, fours, false);       // conversions would cut bits off
    ck_assert(hx_places_read(found, 32, out));
    IS(0x02014020, 0x04, 0x088010, 0);
}
END_TEST

START_TEST(other_patterns_are_unknown)
{
    uint32_t out[4];
    answer(32, mixed, mixed, true);
    ck_assert(!hx_places_read(found, 32, out));
    IS(0, 0, 0, 0);
    answer(32, fours, fours, true);
    found[5 * SLOTS + 3]++;
    ck_assert(!hx_places_read(found, 32, out));
    answer(24, fours, fours, true);
    ck_assert(!hx_places_read(found, 24, out));
    for (int i = 0; i < 64 * SLOTS; i++)
        found[i] = -1;
    ck_assert(!hx_places_read(found, 32, out));
    IS(0, 0, 0, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { patterns_become_constants,
        factors_elsewhere_are_not_made_of_sums, other_patterns_are_unknown };
    return run_suite("places", NULL, NULL, tests, 3);
}
