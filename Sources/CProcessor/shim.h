#pragma once

// Asks the processor for the cache line at `address`. Swift has no name for this instruction; a load that stands for
// it holds up everything behind it until memory has answered. Any address is allowed.
static inline __attribute__((always_inline)) void aurum_prefetch(const void *address) {
    __builtin_prefetch(address, 0, 3);
}

// Whether the processor has what the event engine is built for; true where it is built for any.
static inline int aurum_processor_suffices(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

// The core this thread runs on now, counted from 0; negative when nobody knows. The C library declares it only to
// those who define a macro before its first header.
extern int sched_getcpu(void);
static inline int aurum_core(void) { return sched_getcpu(); }
