// fault.h - deliberate failures, so that tests reach every error path. Compiled in by the meson
// option `faults`; otherwise hx_fault() is always NULL.
#pragma once

// HX_FAULT="io:fsync:2:EIO;mem:137:ENOMEM" has rows AREA[:CALL]:WHICH:WHAT separated by ';'. WHICH
// counts the calls from 1; '*' is every one, "3+" the third and all later. Returns WHAT when this
// call is to fail, else NULL. The text is valid until the next hx_fault_set.
#ifdef HX_FAULTS
const char *hx_fault(const char *area, const char *call);
// Replaces the environment's rows and restarts the counts; NULL: the environment again. Not to be
// called while other threads run.
void hx_fault_set(const char *rows);
#else
static inline const char *hx_fault(const char *area, const char *call)
{
    (void)area, (void)call;
    return 0;
}
static inline void hx_fault_set(const char *rows) { (void)rows; }
#endif
