#pragma once

// Asks the processor for the cache line at `address`. Swift has no name for this instruction; a load that stands for
// it holds up everything behind it until memory has answered. Any address is allowed.
static inline __attribute__((always_inline)) void aurum_prefetch(const void *address) {
    __builtin_prefetch(address, 0, 3);
}
