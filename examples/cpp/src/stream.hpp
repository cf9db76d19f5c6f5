#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "manifest.hpp"

/** What came of one batch. */
struct BatchReport {
    uint64_t index = 0;
    uint64_t total = 0;
    uint64_t items = 0;
    uint64_t bytes = 0;
    double seconds = 0;
};

struct StreamRequest {
    /** HOST:PORT */
    std::string companion;
    std::string dataset;
    std::string token;
    int32_t batch_size = 0;
    bool shuffle = false;
};

/**
 * Streams an epoch from a companion over gRPC, compares every item with the manifest, and acknowledges what came.
 * @throws std::runtime_error naming the first item that differs, or with the status that the companion sent.
 */
void stream_epoch(const StreamRequest& request, const Manifest& manifest,
                  const std::function<void(const BatchReport&)>& on_batch);
