#include "manifest.hpp"

#include <blake3.h>

#include <algorithm>
#include <stdexcept>

namespace {

constexpr uint64_t HEADER_BYTES = 64;
constexpr uint64_t RECORD_BYTES = 48;
constexpr uint64_t HASH_IN_RECORD = 16;

uint64_t little_endian(std::string_view bytes, std::size_t offset, int width) {
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
    return value;
}

}  // namespace

Hash blake3(std::string_view bytes) {
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, bytes.data(), bytes.size());
    Hash hash;
    blake3_hasher_finalize(&hasher, hash.data(), hash.size());
    return hash;
}

std::string to_hex(const Hash& hash) {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : hash) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

Manifest::Manifest(std::string bytes, const std::string& content_hash) : bytes_(std::move(bytes)) {
    const std::string actual = to_hex(blake3(bytes_));
    if (actual != content_hash)
        throw std::runtime_error("The manifest has the hash " + actual + ", not " + content_hash + ".");
    if (bytes_.size() < HEADER_BYTES || bytes_.compare(0, 4, "CYXM") != 0 || little_endian(bytes_, 4, 2) != 1)
        throw std::runtime_error("The manifest is of no version that this program knows.");
    count_ = little_endian(bytes_, 8, 8);
    if (count_ > (bytes_.size() - HEADER_BYTES) / RECORD_BYTES)
        throw std::runtime_error("The manifest is shorter than its list of files.");
}

Hash Manifest::hash_of(uint64_t index) const {
    if (index >= count_) throw std::out_of_range("The manifest has no file " + std::to_string(index) + ".");
    Hash hash;
    const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(HEADER_BYTES + index * RECORD_BYTES + HASH_IN_RECORD);
    std::copy_n(from, hash.size(), hash.begin());
    return hash;
}
