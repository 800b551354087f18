/* Checksums of short texts, as `zlib.crc32` and `zlib.adler32` give them: a call of these takes longer than the sum. */
#include "native.h"

static uint32_t table[4][256];

uint32_t crc32_of(const char *bytes, size_t length, uint32_t sum) {
    const unsigned char *at = (const unsigned char *)bytes;
    sum = ~sum;
    for (; length >= 4; length -= 4, at += 4) {
        sum ^= get_u32(at);
        sum = table[3][sum & 255] ^ table[2][sum >> 8 & 255] ^ table[1][sum >> 16 & 255] ^ table[0][sum >> 24];
    }
    while (length--) sum = table[0][(sum ^ *at++) & 255] ^ sum >> 8;
    return ~sum;
}

uint32_t adler32_of(const char *bytes, size_t length, uint32_t sum) {
    uint32_t low = sum & 0xFFFF, high = sum >> 16; /* no overflow within 5552 bytes */
    for (size_t i = 0; i < length; i++) high += low += (unsigned char)bytes[i];
    return high % 65521 << 16 | low % 65521;
}

void prepare_sums(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320 : 0);
        table[0][byte] = sum;
    }
    for (int row = 1; row < 4; row++) {
        for (int byte = 0; byte < 256; byte++)
            table[row][byte] = table[0][table[row - 1][byte] & 255] ^ table[row - 1][byte] >> 8;
    }
}
