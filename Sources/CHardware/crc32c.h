#ifndef CHARDWARE_CRC32C_H
#define CHARDWARE_CRC32C_H
// The processor's own CRC-32C, which Swift cannot name. Header only; where the instruction is
// missing the answer of ch_has_crc32c is 0 and Base/Checksum.swift uses its tables.
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

// Whether the processor has the instruction (SSE 4.2), and carry-less multiplication.
static inline int ch_has_crc32c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) && (c & bit_PCLMUL);
}

// The running state (inverted checksum) after eight more bytes.
__attribute__((target("sse4.2")))
static inline uint64_t ch_crc32c_word(uint64_t state, const unsigned char *at) {
  uint64_t word;
  __builtin_memcpy(&word, at, 8);
  return __builtin_ia32_crc32di(state, word);
}

// The state of a run after `words` * 8 bytes of zero, in a form that the instruction brings down to
// 32 bits: carry-less, by x^(64 * words - 33), as the instruction and the bit that a product of
// reflected numbers is off by multiply by x^33.
__attribute__((target("sse4.2,pclmul")))
static inline uint64_t ch_crc32c_shift(uint64_t state, uint32_t power) {
  typedef long long pair __attribute__((vector_size(16)));
  pair a = {(long long)state, 0}, b = {(long long)power, 0};
  return (uint64_t)__builtin_ia32_pclmulqdq128(a, b, 0)[0];
}

// The running state (inverted checksum) after `count` more bytes. The instruction's result comes
// three cycles after its operands, so a long run is cut into three that go side by side.
// powers[i] is x^(64 * i - 33) for i up to 2 * `words_max`, the longest third in words.
__attribute__((target("sse4.2,pclmul")))
static inline uint32_t ch_crc32c(uint32_t state, const void *bytes, size_t count,
                                 const uint32_t *powers, size_t words_max) {
  const unsigned char *at = (const unsigned char *)bytes;
  uint64_t first = state;
  while (count >= 192) {
    size_t words = count / 24;
    if (words > words_max) words = words_max;
    const unsigned char *b = at + words * 8, *c = b + words * 8;
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < words; i++, at += 8, b += 8, c += 8) {
      first = ch_crc32c_word(first, at);
      second = ch_crc32c_word(second, b);
      third = ch_crc32c_word(third, c);
    }
    first = third ^ __builtin_ia32_crc32di(
        0, ch_crc32c_shift(first, powers[2 * words]) ^ ch_crc32c_shift(second, powers[words]));
    at = c;
    count -= words * 24;
  }
  for (; count >= 8; at += 8, count -= 8) first = ch_crc32c_word(first, at);
  uint32_t narrow = (uint32_t)first;
  for (; count > 0; at++, count--) narrow = __builtin_ia32_crc32qi(narrow, *at);
  return narrow;
}
#else
static inline int ch_has_crc32c(void) { return 0; }
static inline uint32_t ch_crc32c(uint32_t state, const void *bytes, size_t count,
                                 const uint32_t *powers, size_t words_max) {
  (void)bytes; (void)count; (void)powers; (void)words_max;
  return state;
}
#endif
#endif
