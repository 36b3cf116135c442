#ifndef CHARDWARE_CRC32C_H
#define CHARDWARE_CRC32C_H
// The processor's own CRC-32C, which Swift cannot name. Header only; where the instruction is
// missing the answer of ch_has_crc32c is 0 and Base/Checksum.swift uses its tables.
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

// Whether the processor has the instruction (SSE 4.2).
static inline int ch_has_crc32c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
}

// The running state (inverted checksum) after `count` more bytes.
__attribute__((target("sse4.2")))
static inline uint32_t ch_crc32c(uint32_t state, const void *bytes, size_t count) {
  const unsigned char *at = (const unsigned char *)bytes;
  uint64_t wide = state;
  for (; count >= 8; at += 8, count -= 8) {
    uint64_t word;
    __builtin_memcpy(&word, at, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  uint32_t narrow = (uint32_t)wide;
  for (; count > 0; at++, count--) narrow = __builtin_ia32_crc32qi(narrow, *at);
  return narrow;
}
#else
static inline int ch_has_crc32c(void) { return 0; }
static inline uint32_t ch_crc32c(uint32_t state, const void *bytes, size_t count) {
  (void)bytes; (void)count;
  return state;
}
#endif
#endif
