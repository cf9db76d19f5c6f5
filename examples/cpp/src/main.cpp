/** Lists the datasets of a gateway, streams one of them from a companion, and checks every item against its manifest. */
#include <curl/curl.h>

#include <cinttypes>
#include <cstdio>

#include "manifest.hpp"
#include "options.hpp"
#include "rest.hpp"
#include "stream.hpp"

namespace {

void print_datasets(const std::vector<Dataset>& datasets) {
    std::printf("%-32s %8s %12s %12s  %s\n", "DATASET", "VERSION", "FILES", "MB", "TRUST");
    for (const Dataset& each : datasets)
        std::printf("%-32s %8" PRId64 " %12" PRId64 " %12.2f  %s\n", (each.owner + "/" + each.name).c_str(), each.version,
                    each.files, static_cast<double>(each.bytes) / 1e6, each.trust.c_str());
}

/** Streams an epoch and prints a line for each batch, and the verdict. */
void stream_dataset(const Options& options) {
    Rest rest(options.gateway, options.api_key.empty() ? options.token : options.api_key);
    const Dataset dataset = rest.dataset(options.dataset);
    const std::string pinned = options.content_hash.empty() ? dataset.content_hash : options.content_hash;
    const Manifest manifest(rest.manifest(dataset.id), pinned);
    const std::string token = options.token.empty() ? rest.create_token(dataset.id) : options.token;

    std::printf("\n%8s %8s %12s %10s\n", "BATCH", "ITEMS", "KB", "ms");
    BatchReport sum;
    // The very version whose manifest was checked, whatever the name means by now.
    const std::string version = dataset.id + "@blake3:" + pinned;
    stream_epoch({options.companion, version, token, options.batch_size, options.shuffle}, manifest,
                 [&sum](const BatchReport& batch) {
                     std::printf("%4" PRIu64 "/%-3" PRIu64 " %8" PRIu64 " %12.1f %10.2f\n", batch.index + 1, batch.total,
                                 batch.items, static_cast<double>(batch.bytes) / 1e3, batch.seconds * 1e3);
                     ++sum.total;
                     sum.items += batch.items;
                     sum.bytes += batch.bytes;
                 });
    std::printf("\nVerified: %" PRIu64 " batches, %" PRIu64 " items, %" PRIu64 " bytes have the hashes of %s@blake3:%s%s\n",
                sum.total, sum.items, sum.bytes, dataset.name.c_str(), pinned.c_str(),
                options.content_hash.empty() ? " (as the gateway names it)" : "");
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    try {
        options = parse_options(argc, argv);
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "%s\n%s", error.what(), USAGE);
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    try {
        if (!options.api_key.empty()) print_datasets(Rest(options.gateway, options.api_key).datasets());
        if (!options.dataset.empty()) stream_dataset(options);
    } catch (const std::exception& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "Not verified: %s\n", error.what());
        return 1;
    }
    return 0;
}
