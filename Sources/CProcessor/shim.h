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

// A bit for each of the 64 bytes at `bytes` that is `first`, `second`, a quote, a line feed or a carriage return; the
// lowest bit is of the first byte. Swift has no name for the instruction that gathers such bits.
static inline __attribute__((always_inline)) unsigned long long aurum_byte_marks(
    const void *bytes, unsigned char first, unsigned char second) {
    unsigned long long marks = 0;
#if defined(__SSE2__)
    typedef char sixteen __attribute__((vector_size(16)));
    for (int part = 0; part < 4; part++) {
        sixteen text;
        __builtin_memcpy(&text, (const char *)bytes + 16 * part, sizeof text);
        const sixteen found = (text == (char)first) | (text == (char)second) | (text == '"') | (text == '\n')
            | (text == '\r');
        marks |= (unsigned long long)(unsigned int)__builtin_ia32_pmovmskb128(found) << (16 * part);
    }
#else
    const unsigned char *text = (const unsigned char *)bytes;
    for (int place = 0; place < 64; place++) {
        const unsigned char byte = text[place];
        const int found = byte == first || byte == second || byte == '"' || byte == '\n' || byte == '\r';
        marks |= (unsigned long long)found << place;
    }
#endif
    return marks;
}

// Whether `aurum_crc32c` may be called: the importing module is built for a processor with the instruction.
static inline __attribute__((always_inline)) int aurum_has_crc32c(void) {
#if defined(__SSE4_2__) && defined(__x86_64__)
    return 1;
#else
    return 0;
#endif
}

// Goes on with a CRC-32C over `count` bytes; neither `crc` nor the answer is inverted. Swift has no name for the
// instruction.
static inline __attribute__((always_inline)) unsigned int aurum_crc32c(
    unsigned int crc, const void *bytes, unsigned long count) {
#if defined(__SSE4_2__) && defined(__x86_64__)
    const unsigned char *next = (const unsigned char *)bytes;
    unsigned long long wide = crc;
    for (; count >= 8; count -= 8, next += 8) {
        unsigned long long word;
        __builtin_memcpy(&word, next, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (unsigned int)wide;
    for (; count > 0; count--, next++) crc = __builtin_ia32_crc32qi(crc, *next);
#else
    (void)bytes;
    (void)count;
#endif
    return crc;
}
