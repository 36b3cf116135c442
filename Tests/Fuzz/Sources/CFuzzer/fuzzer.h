#ifndef CFUZZER_H
#define CFUZZER_H
// libFuzzer's entry for programs with a main function of their own.
#include <stddef.h>
#include <stdint.h>
int LLVMFuzzerRunDriver(int *count, char ***arguments,
                        int (*target)(const uint8_t *bytes, size_t count));
#endif
