/* What the language has no word for. */
static inline void aurum_prefetch(const void *address) { __builtin_prefetch(address); }
