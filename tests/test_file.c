// test_file.c - bounded reads, writes that replace whole files, directories, locks, faults.
#include "scratch.h"
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

START_TEST(reading)
{
    const char *path = put("a", "hello", 5);
    hx_blob b;
    ck_ok(hx_file_read(path, 5, 0, &b));
    ck_assert(b.size == 5 && !strcmp((char *)b.data, "hello"));
    hx_blob_free(&b);
    ck_assert_int_eq(hx_file_read(path, 4, 0, &b), HX_E_INPUT);
    ck_says("5 bytes");
    ck_assert_int_eq(hx_file_read(scratch, 4, 0, &b), HX_E_INPUT);
    ck_assert_int_eq(hx_file_read("/dev/zero", 4, 0, &b), HX_E_INPUT);
    ck_assert_int_eq(mkfifo(at("pipe"), 0600), 0);
    ck_assert_int_eq(hx_file_read(at("pipe"), 4, 0, &b), HX_E_INPUT);
    ck_assert_int_eq(symlink(path, at("link")), 0);
    ck_ok(hx_file_read(at("link"), 5, 0, &b));
    hx_blob_free(&b);
    ck_assert_int_eq(hx_file_read(at("link"), 5, HX_FILE_NOFOLLOW, &b), HX_E_INPUT);
    ck_says("symbolic link");
}
END_TEST

START_TEST(writing)
{
    size_t n = 3 << 20;
    char *big = malloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 7 + (i >> 13));
    const char *path = put("big", big, n);
    put("big", big, n);
    hx_blob b;
    ck_ok(hx_file_read(path, 1 << 30, 0, &b));
    ck_assert(b.size == (int64_t)n && !memcmp(b.data, big, n));
    hx_blob_free(&b);
    free(big);
    // a link in the place of the file is replaced, what it points to is not touched
    put("target", "old", 3);
    ck_assert_int_eq(symlink("target", at("link")), 0);
    ck_assert_int_eq(mkfifo(at("pipe"), 0600), 0);
    ck_assert_int_eq(hx_file_write(at("pipe"), "x", 1), HX_E_IO);
    struct stat pipe;
    ck_assert(!lstat(at("pipe"), &pipe) && S_ISFIFO(pipe.st_mode));
    put("link", "new", 3);
    ck_ok(hx_file_read(at("target"), 9, HX_FILE_NOFOLLOW, &b));
    ck_assert_str_eq((char *)b.data, "old");
    hx_blob_free(&b);
    ck_ok(hx_file_append(at("log"), "a\n", 2));
    ck_ok(hx_file_append(at("log"), "b\n", 2));
    ck_ok(hx_file_read(at("log"), 9, 0, &b));
    ck_assert_str_eq((char *)b.data, "a\nb\n");
    hx_blob_free(&b);
    ck_assert_int_eq(hx_file_write(at("no/such/dir"), "x", 1), HX_E_IO);
}
END_TEST

// Whatever call fails: the error says so, the old file stays whole, nothing is left beside it.
START_TEST(faults)
{
    static const char *const calls[] = { "open", "write", "fsync", "close", "rename", "fallocate" };
    static const char *const errors[] = { "EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE" };
    if (!HAVE_FAULTS)
        return;
    put("f", "old", 3);
    for (int c = 0; c < HX_COUNT(calls); c++)
        for (int e = 0; e < HX_COUNT(errors); e++) {
            hx_fault_set(hx_sprintf(arena, "io:%s:1:%s", calls[c], errors[e]));
            ck_assert_msg(hx_file_write(at("f"), "new!", 4) == HX_E_IO, "%s %s went unseen",
                          calls[c], errors[e]);
            ck_says("/f'");
            hx_fault_set("");
            hx_blob b;
            ck_ok(hx_file_read(at("f"), 9, 0, &b));
            ck_assert_str_eq((char *)b.data, "old");
            hx_blob_free(&b);
            hx_names names;
            ck_ok(hx_dir_list(arena, scratch, &names));
            ck_assert_int_eq(names.n, 1);
        }
    // these are no failures
    hx_fault_set(
        "io:write:1:short;io:write:2:EINTR;io:open:1:EINTR;io:read:1:short;io:read:2:EINTR");
    put("f", "fresh", 5);
    hx_blob b;
    ck_ok(hx_file_read(at("f"), 9, 0, &b));
    ck_assert_str_eq((char *)b.data, "fresh");
    hx_blob_free(&b);
    hx_fault_set("io:read:2+:EIO");
    ck_ok(hx_file_read(at("f"), 9, 0, &b));
    hx_blob_free(&b);
    ck_assert_int_eq(hx_file_read(at("f"), 9, 0, &b), HX_E_IO);
    ck_assert_int_eq(hx_file_read(at("f"), 9, 0, &b), HX_E_IO);
}
END_TEST

START_TEST(directories)
{
    ck_ok(hx_dir_make_all(at("a/b/c"), 0700));
    ck_ok(hx_dir_make_all(at("a/b/c"), 0700));
    put("a/z", "", 0);
    put("a/B", "", 0);
    ck_assert_int_eq(hx_dir_make(at("a/z"), 0700), HX_E_IO);
    hx_names names;
    ck_ok(hx_dir_list(arena, at("a"), &names));
    ck_assert(names.n == 3 && !strcmp(names.v[0], "B") && !strcmp(names.v[2], "z"));
    ck_assert_int_eq(hx_dir_list(arena, at("none"), &names), HX_E_INPUT);
    // removing goes into directories, not through links
    put("kept", "x", 1);
    ck_assert_int_eq(symlink(scratch, at("a/b/out")), 0);
    ck_ok(hx_dir_remove(at("a")));
    ck_assert(!hx_file_exists(at("a")) && hx_file_exists(at("kept")));
    ck_assert_int_eq(symlink(scratch, at("me")), 0);
    ck_assert_int_eq(hx_dir_remove(at("me")), HX_E_IO);
    ck_ok(hx_link_swap("one", at("latest")));
    ck_ok(hx_link_swap("two", at("latest")));
    char to[16] = "";
    ck_assert_int_eq(readlink(at("latest"), to, sizeof to - 1), 3);
    ck_assert_str_eq(to, "two");
}
END_TEST

START_TEST(paths)
{
    static const char *const dir[][2] = { { "a", "." }, { "a/b", "a" },  { "/a", "/" },
                                          { "/", "/" }, { "a/b/", "a" }, { "/a//b", "/a" },
                                          { "", "." } };
    for (int i = 0; i < HX_COUNT(dir); i++)
        ck_assert_str_eq(hx_path_dir(arena, dir[i][0]), dir[i][1]);
    ck_assert_str_eq(hx_path_join(arena, "a", "b"), "a/b");
    ck_assert_str_eq(hx_path_join(arena, "a/", "b"), "a/b");
    ck_assert_str_eq(hx_path_join(arena, "a", "/b"), "/b");
    ck_assert_str_eq(hx_path_join(arena, ".", "b"), "b");
    static const char *const shown[][2] = {
        { "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
          "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
        { "\x1b[0m\n", "\\x1b[0m\\x0a" },
        { "\xff", "\\xff" },
        { "\xc0\x80", "\\xc0\\x80" },
        { "\xe2\x80", "\\xe2\\x80" },
        { "\xed\xa0\x80", "\\xed\\xa0\\x80" },
        { "\xc2\x9b", "\\xc2\\x9b" },
        { "\x7f", "\\x7f" },
    };
    for (int i = 0; i < HX_COUNT(shown); i++)
        ck_assert_str_eq(hx_printable(arena, shown[i][0]), shown[i][1]);
    char big[1000];
    memset(big, 1, sizeof big - 1);
    big[sizeof big - 1] = 0;
    ck_assert_uint_le(strlen(hx_printable(arena, big)), 123);
}
END_TEST

START_TEST(locks)
{
    int fd, other;
    ck_ok(hx_lock(at("lock"), &fd));
    ck_assert_int_eq(hx_lock(at("lock"), &other), HX_E_IO);
    ck_says(hx_sprintf(arena, "pid %ld", (long)getpid()));
    close(fd);
    ck_ok(hx_lock(at("lock"), &fd));
    close(fd);
    // a killed holder leaves nothing behind
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        if (hx_lock(at("lock"), &fd) || write(ready[1], "", 1) != 1)
            _exit(1);
        pause();
    }
    char c;
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    ck_assert_int_eq(hx_lock(at("lock"), &other), HX_E_IO);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_ok(hx_lock(at("lock"), &other));
    close(other);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { reading, writing, faults, directories, paths, locks };
    return run_suite("file", setup, teardown, tests, HX_COUNT(tests));
}
