/* What kind of work an A64 instruction does, read from its 32-bit word.
 *
 * A kind is a set of encodings "(word & mask) == bits"; fields that do not matter to us (registers, sizes, signs) are
 * zero in the mask. tests/test_emulated_plugin.py classifies assembled instructions of every line, and near misses.
 */
#ifndef A64_H
#define A64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { OTHER, FMLA, DOT, MMLA };

struct encoding {
    uint32_t mask, bits;
    enum kind kind;
};

static const struct encoding ENCODINGS[] = {
    /* Fused multiply-add of floats: FMLA, FMLS and relatives. */
    {0xBF20FC00, 0x0E20CC00, FMLA}, /* vector, single and double */
    {0xBF60FC00, 0x0E400C00, FMLA}, /* vector, half */
    {0xBF80B400, 0x0F801000, FMLA}, /* vector by element, single and double */
    {0xBFC0B400, 0x0F001000, FMLA}, /* vector by element, half */
    {0xFF80B400, 0x5F801000, FMLA}, /* scalar by element, single and double */
    {0xFFC0B400, 0x5F001000, FMLA}, /* scalar by element, half */
    {0xFF000000, 0x1F000000, FMLA}, /* FMADD, FMSUB, FNMADD, FNMSUB */
    {0xBF60FC00, 0x0E20EC00, FMLA}, /* FMLAL, FMLSL: half into single */
    {0xBF60FC00, 0x2E20CC00, FMLA}, /* FMLAL2, FMLSL2 */
    {0xBFC0B400, 0x0F800000, FMLA}, /* FMLAL, FMLSL by element */
    {0xBFC0B400, 0x2F808000, FMLA}, /* FMLAL2, FMLSL2 by element */
    {0xFF200000, 0x65200000, FMLA}, /* SVE, predicated: FMLA, FMLS, FMAD and relatives */
    {0xFF20F800, 0x64200000, FMLA}, /* SVE by element */

    /* Dot products of four bytes (two bfloat16) into each 32-bit lane. */
    {0x9FE0FC00, 0x0E809400, DOT}, /* SDOT, UDOT */
    {0x9FC0F400, 0x0F80E000, DOT}, /* SDOT, UDOT by element */
    {0xBFE0FC00, 0x0E809C00, DOT}, /* USDOT */
    {0xBFC0F400, 0x0F80F000, DOT}, /* USDOT by element */
    {0xBFC0F400, 0x0F00F000, DOT}, /* SUDOT by element */
    {0xBFE0FC00, 0x2E40FC00, DOT}, /* BFDOT */
    {0xBFC0F400, 0x0F40F000, DOT}, /* BFDOT by element */
    {0xFFA0F800, 0x44800000, DOT}, /* SVE SDOT, UDOT */
    {0xFFA0F800, 0x44A00000, DOT}, /* SVE SDOT, UDOT by element */
    {0xFFE0FC00, 0x44807800, DOT}, /* SVE USDOT */
    {0xFFE0F800, 0x44A01800, DOT}, /* SVE USDOT, SUDOT by element */
    {0xFFE0FC00, 0x64608000, DOT}, /* SVE BFDOT */
    {0xFFE0FC00, 0x64604000, DOT}, /* SVE BFDOT by element */

    /* Products of small matrices: 2x8 times 8x2 bytes, 2x4 times 4x2 bfloat16. */
    {0xDFE0FC00, 0x4E80A400, MMLA}, /* SMMLA, UMMLA */
    {0xFFE0FC00, 0x4E80AC00, MMLA}, /* USMMLA */
    {0xFFE0FC00, 0x6E40EC00, MMLA}, /* BFMMLA */
    {0xFF20FC00, 0x45009800, MMLA}, /* SVE SMMLA, UMMLA, USMMLA */
    {0xFFE0FC00, 0x6460E400, MMLA}, /* SVE BFMMLA */
    {0xFFE0FC00, 0x64A0E400, MMLA}, /* SVE FMMLA of singles */
};

static enum kind kind_of(uint32_t word) {
    for (size_t i = 0; i < sizeof ENCODINGS / sizeof ENCODINGS[0]; i++)
        if ((word & ENCODINGS[i].mask) == ENCODINGS[i].bits)
            return ENCODINGS[i].kind;
    return OTHER;
}

/* Whether it may load or store: bits 28..25 are x1x0 for the base set and Advanced SIMD; SVE (0010) has bit 31 set. */
static bool may_access_memory(uint32_t word) {
    unsigned group = (word >> 25) & 15;
    return (group & 5) == 4 || (group == 2 && word >> 31);
}

#endif
