// file.h - files and directories: bounded reads, writes that survive a crash, one seam for faults.
//
// Every system call that writes goes through hx_io; with the meson option `faults` the variable
// HX_FAULT="io:fsync:2:EIO" fails the second fsync (";" between several, "*" for every call,
// "short" instead of an error name does half, "SLOW" takes 0.3 s, "KILL" ends the process there). All failures are HX_E_IO unless stated.
#pragma once
#include "arena.h"

// A whole file in memory. data[size] is 0, so that text can be read as a C string.
typedef struct hx_blob { uint8_t *data; int64_t size; } hx_blob;
void hx_blob_free(hx_blob *b);             // accepts an empty blob, empties it

enum { HX_FILE_NOFOLLOW = 1 };             // refuse a symbolic link: for files that others made
// Opens a regular file to read. HX_E_INPUT: it is not a regular file or does not exist.
hx_result hx_file_open(const char *path, unsigned flags, int *fd, int64_t *size);
// Reads `n` bytes at `at`, all or HX_E_IO. Never maps, so that a file cut short cannot kill us.
hx_result hx_file_pread(int fd, const char *path, void *out, int64_t n, int64_t at);
// Reads a whole file of at most `max` bytes (HX_E_INPUT above that, or when it changed meanwhile).
hx_result hx_file_read(const char *path, int64_t max, unsigned flags, hx_blob *out);
// XXH3-128 of a file, high and low word, and its size.
hx_result hx_file_hash(const char *path, uint64_t hash[2], int64_t *size);
bool      hx_file_exists(const char *path);

// A file being written: hashed on the way, synced before it is closed. Replacing writers stage
// beside `path` and rename at the end, so that readers see the old or the new file, whole.
typedef struct hx_writer {
    int      fd;
    char    *path, *stage;                 // stage: where the bytes go; equal to path if not replacing
    void    *hash;
    uint8_t *buf;
    int64_t  fill, bytes;
    bool     made;                         // the file is ours to remove
} hx_writer;
enum { HX_WRITER_REPLACE = 1 };            // else the file must not exist yet
// `size` bytes are set aside first so that a full disk is seen here; 0: unknown.
hx_result hx_writer_open(hx_writer *w, const char *path, unsigned flags, int64_t size);
hx_result hx_writer_put(hx_writer *w, const void *data, int64_t n);
// Flush, fsync, close, rename if replacing. Hash may be NULL. The writer is empty afterwards.
hx_result hx_writer_close(hx_writer *w, uint64_t hash[2]);
void      hx_writer_drop(hx_writer *w);    // gives up and removes what was staged; idempotent
// The three together; the parent directory is synced too.
hx_result hx_file_write(const char *path, const void *data, int64_t n);
// Appends to a log and flushes it to the kernel in one write.
hx_result hx_file_append(const char *path, const void *data, int64_t n);

hx_result hx_dir_make(const char *path, unsigned mode);       // existing directory: done
hx_result hx_dir_make_all(const char *path, unsigned mode);   // with missing parents
hx_result hx_dir_sync(const char *path);
// Bytes that a file there may grow by before its disk is full; -1: unknown.
int64_t   hx_dir_room(const char *path);
// Names in a directory without "." and "..", sorted by bytes; in `arena`.
typedef struct hx_names { int n; const char **v; } hx_names;
hx_result hx_dir_list(hx_arena *arena, const char *path, hx_names *out);
// Removes a directory and what is in it, never through a symbolic link.
hx_result hx_dir_remove(const char *path);
hx_result hx_rename(const char *from, const char *to);        // and syncs the parent of `to`
// Points the symbolic link `path` to `target` in one step. Not synced: after a crash it may be the old one.
hx_result hx_link_swap(const char *target, const char *path);
// Takes the exclusive lock of a file (made if missing), without waiting. A killed process leaves
// no lock. HX_E_IO: another process holds it; the message has its pid. Closing fd lets it go.
hx_result hx_lock(const char *path, int *fd);

const char *hx_path_join(hx_arena *a, const char *dir, const char *name);  // absolute names win
const char *hx_path_dir(hx_arena *a, const char *path);                    // "." if there is none
// Bytes of the well-formed UTF-8 character at s that may be printed; 0 for everything else.
int hx_char_bytes(const char *s);
// A name as it may be printed: control characters and broken UTF-8 as \xNN, cut at 120 bytes.
const char *hx_printable(hx_arena *a, const char *s);
