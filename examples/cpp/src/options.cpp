#include "options.hpp"

#include <cstdlib>

const char* const USAGE =
    "Usage: cyxcloud-example [--gateway URL] [--companion HOST:PORT] [--dataset NAME]\n"
    "                        [--batch-size N] [--shuffle] [--content-hash HEX]\n"
    "Environment: CYXCLOUD_API_KEY, CYXCLOUD_TOKEN (made with the key where it is missing)\n";

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

int32_t positive(const std::string& flag, const std::string& text) {
    std::size_t end = 0;
    long value = 0;
    try {
        value = std::stol(text, &end);
    } catch (const std::exception&) {
        end = 0;
    }
    if (end == 0 || end != text.size() || value < 1 || value > 65536)
        throw std::invalid_argument(flag + " must be a whole number from 1 to 65536.");
    return static_cast<int32_t>(value);
}

}  // namespace

Options parse_options(int argc, char** argv) {
    Options options;
    options.api_key = environment("CYXCLOUD_API_KEY");
    options.token = environment("CYXCLOUD_TOKEN");
    for (int i = 1; i < argc; ++i) {
        const std::string flag = argv[i];
        if (flag == "--shuffle") {
            options.shuffle = true;
            continue;
        }
        if (i + 1 >= argc) throw std::invalid_argument(flag + " is unknown, or lacks its value.");
        const std::string value = argv[++i];
        if (flag == "--gateway") options.gateway = value;
        else if (flag == "--companion") options.companion = value;
        else if (flag == "--dataset") options.dataset = value;
        else if (flag == "--batch-size") options.batch_size = positive(flag, value);
        else if (flag == "--content-hash") options.content_hash = value;
        else throw std::invalid_argument(flag + " is unknown.");
    }
    if (options.api_key.empty() && options.token.empty())
        throw std::invalid_argument("Set CYXCLOUD_API_KEY, or CYXCLOUD_TOKEN with --dataset.");
    if (options.api_key.empty() && options.dataset.empty())
        throw std::invalid_argument("Listing needs CYXCLOUD_API_KEY: a token opens one dataset alone.");
    return options;
}
