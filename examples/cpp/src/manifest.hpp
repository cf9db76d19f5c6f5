#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

using Hash = std::array<uint8_t, 32>;

Hash blake3(std::string_view bytes);
std::string to_hex(const Hash& hash);

/**
 * The list of a dataset's files, docs/formats/manifest-v1.md: its BLAKE3 names the dataset, and it has the BLAKE3 of every
 * file. Only what a consumer of items needs is read here: paths and their rules are not.
 */
class Manifest {
public:
    /** @throws std::runtime_error when the bytes are no manifest of version 1, or do not have the expected hash. */
    Manifest(std::string bytes, const std::string& content_hash);

    uint64_t count() const { return count_; }
    /** BLAKE3 of a file. @throws std::out_of_range */
    Hash hash_of(uint64_t index) const;

private:
    std::string bytes_;
    uint64_t count_ = 0;
};
